package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"
)

// digested is a file whose digest is known.
type digested struct {
	info os.FileInfo
	sum  string
}

// settled is the age from which on a file that looks the same is the same: clocks of file systems are coarse, and a file that
// was written twice within a tick looks as after the first time.
const settled = 2 * time.Second

// digest is the SHA-256 of a file, which is read only if it does not look as it did before: same file, size and time of change.
func (r *Repository) digest(path string, before digested) (sum string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if before.info != nil && os.SameFile(info, before.info) && info.Size() == before.info.Size() && info.ModTime().Equal(before.info.ModTime()) {
		r.digests[path] = before
		return before.sum, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if time.Since(info.ModTime()) > settled {
		r.digests[path] = digested{info, sum}
	}
	return sum, nil
}
