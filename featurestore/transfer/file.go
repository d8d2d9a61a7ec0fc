package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
)

// File is a file of past events of one source.
type File struct {
	// Name is the file's.
	Name string

	source *featurestore.Source
	digest [sha256.Size]byte // of what is in it
	info   os.FileInfo       // when it was opened
	known  map[string]bool
}

// Open reads a file as far as is needed to tell it from all others. known are the topics of
// the source whose events history has, as [featurestore.TopicID] writes them: rows that say
// that they are of one are refused. The caller must not change it.
func Open(source *featurestore.Source, name string, known map[string]bool) (*File, error) {
	f := &File{Name: name, source: source, known: known}
	var err error
	if f.info, f.digest, err = digestOf(name); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) origins() *origins { return &origins{source: f.source.Name, known: f.known} }

// Check reads the whole file, by its name's end CSV or Parquet, and finds the first thing that
// is wrong with it; errors name file, row and column. Rows count from 1, without a header.
// progress, if not nil, is told of the rows so far.
func (f *File) Check(ctx context.Context, progress func(rows int)) (events int64, err error) {
	return f.each(ctx, func(e *featurestore.Event) error {
		if n := int(e.Offset) + 1; progress != nil && n%checkEvery == 0 {
			progress(n)
		}
		return nil
	})
}

func digestOf(name string) (info os.FileInfo, digest [sha256.Size]byte, err error) {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, digest, err
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err = file.Stat(); err != nil {
		return nil, digest, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return nil, digest, fmt.Errorf("reading %s: %w", name, err)
	}
	return info, [sha256.Size]byte(h.Sum(nil)), nil
}

// Topic is the id under which history keeps the file's events: of the namespace, the source
// and what is in the file, whatever its name. It is no id of a topic of Kafka, whose
// are random.
func (f *File) Topic(namespace string) featurestore.TopicID {
	sum := sha256.Sum256(fmt.Appendf(nil, "onehop import\x00%s\x00%s\x00%x", namespace, f.source.Name, f.digest))
	id := featurestore.TopicID(sum[:len(featurestore.TopicID{})])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8, RFC 9562; random ones are 4
	return id
}

// same finds out whether the file changed since it was opened.
func (f *File) same() error {
	info, err := os.Stat(f.Name)
	if err != nil {
		return err
	}
	if info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime()) {
		return fmt.Errorf("%s changed since it was opened: import files that nobody writes to", f.Name)
	}
	return nil
}

// checkEvery is after how many rows it is looked whether somebody wants no more of them.
const checkEvery = 8192

// each reads and checks the rows of the file, and calls yield for the event of each, which is
// yield's until it returns.
func (f *File) each(ctx context.Context, yield func(e *featurestore.Event) error) (n int64, err error) {
	rows, err := open(ctx, f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, rows.close()) }()
	check := &checker{source: f.source, now: time.Now().UnixMicro()}
	e := featurestore.Event{Values: make([]featurestore.Value, len(f.source.Fields))}
	for ; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		clear(e.Values)
		e = featurestore.Event{Values: e.Values, Position: featurestore.Position{Partition: history.ImportPartition, Offset: n}}
		err := rows.next(&e)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err == nil {
			err = check.check(&e)
		}
		if err != nil {
			return n, fmt.Errorf("%s, row %d: %w", f.Name, n+1, err)
		}
		if err := yield(&e); err != nil {
			return n, err
		}
	}
}
