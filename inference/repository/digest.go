package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
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

// maxModelBytes bounds a model.onnx: a message of protobuf, which is what it is, has less than 2 GiB (protobuf.dev/programming-guides/encoding).
const maxModelBytes = 1<<31 - 1

// digest is the SHA-256 of a file, which is read only if it does not look as it did before: same file, size and time of change.
func (r *Repository) digest(path string, before digested) (sum string, err error) {
	file, info, err := open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if before.info != nil && os.SameFile(info, before.info) && info.Size() == before.info.Size() && info.ModTime().Equal(before.info.ModTime()) {
		r.digests[path] = before
		return before.sum, nil
	}
	if info.Size() > maxModelBytes {
		return "", fmt.Errorf("%s: larger than 2 GiB, which no ONNX file can be: keep the weights in files beside it", path)
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

// open opens a file to read. A pipe that nobody writes to would be waited for, and is refused as any device is.
func open(path string) (*os.File, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() { // of a directory reading says what it is
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}
