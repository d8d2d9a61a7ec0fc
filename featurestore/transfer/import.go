package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
)

// File is a file of past events of one source of which every row was found good.
type File struct {
	// Name is the file's, Rows how many events it has.
	Name string
	Rows int64

	source *featurestore.Source
	digest [sha256.Size]byte // of what is in it
	info   os.FileInfo       // when it was checked
}

// Check reads a whole file, by its name's end CSV or Parquet, and finds the first thing that
// is wrong with it; errors name file, row and column. Rows count from 1, without a header.
// progress, if not nil, is told of the rows so far.
func Check(ctx context.Context, source *featurestore.Source, name string, progress func(rows int)) (*File, error) {
	f := &File{Name: name, source: source}
	var err error
	if f.info, f.digest, err = digestOf(name); err != nil {
		return nil, err
	}
	err = f.batches(ctx, 0, newBatch(source), func(batch ingest.Batch) error {
		f.Rows = batch.To
		if progress != nil {
			progress(int(f.Rows))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
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

// Import copies the file's events to the table of its source, as those of the partition
// [history.ImportPartition] of a topic of its own: a row's number is its offset. It goes on
// after what is there already, and says how many events that were, −1 if it does not know. progress, if not nil, is
// told of all that are there.
func (f *File) Import(ctx context.Context, namespace string, table *history.Table, progress func(rows int)) (before int64, err error) {
	if err := f.same(); err != nil {
		return -1, err
	}
	w := table.NewWriter(ingest.PartitionID{Topic: f.Topic(namespace), Partition: history.ImportPartition})
	before, err = w.Open(ctx, map[int32]ingest.Offsets{history.ImportPartition: {End: f.Rows}})
	if err != nil {
		return -1, fmt.Errorf("importing %s: %w", f.Name, err)
	}
	group, both := errgroup.WithContext(ctx)
	batches := make(chan ingest.Batch)
	group.Go(func() error { // reads the next batch while one is copied
		defer close(batches)
		return f.batches(both, before, nil, func(batch ingest.Batch) error {
			select {
			case batches <- batch:
				return nil
			case <-both.Done():
				return context.Cause(both)
			}
		})
	})
	group.Go(func() error {
		for batch := range batches {
			// Of a large file no month gets its indexes row by row.
			if err := w.Process(both, batch, f.Rows); err != nil {
				return fmt.Errorf("importing %s: %w", f.Name, err)
			}
			if progress != nil {
				progress(int(batch.To))
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return before, err
	}
	if err := w.Sync(ctx); err != nil {
		return before, fmt.Errorf("importing %s: %w", f.Name, err)
	}
	return before, f.same()
}

// same finds out whether the file changed since it was checked.
func (f *File) same() error {
	info, err := os.Stat(f.Name)
	if err != nil {
		return err
	}
	if info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime()) {
		return fmt.Errorf("%s changed since it was checked: import files that nobody writes to", f.Name)
	}
	return nil
}

// importRows is how many rows are copied at a time, or fewer if they have so many bytes.
const (
	importRows  = 50_000
	importBytes = 8 << 20
)

// batches reads the rows of the file from one on. With again, all batches are in its memory,
// and yield keeps nothing of them.
func (f *File) batches(ctx context.Context, from int64, again *batch, yield func(batch ingest.Batch) error) (err error) {
	rows, err := open(ctx, f.Name, f.source)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, rows.close()) }()
	b := again
	if again == nil {
		b = newBatch(f.source)
	}
	n := int64(0)
	for {
		e := b.event()
		err := rows.next(e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.check(e)
		}
		if err != nil {
			return fmt.Errorf("%s, row %d: %w", f.Name, n+1, err)
		}
		e.Offset, e.Partition = n, history.ImportPartition
		if n++; n <= from {
			continue
		}
		if b.add(); len(b.events) < importRows && b.bytes < importBytes {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := yield(ingest.Batch{From: n - int64(len(b.events)), To: n, Events: b.events}); err != nil {
			return err
		}
		if again == nil {
			b = newBatch(f.source)
		} else {
			b.reset()
		}
	}
	if len(b.events) == 0 {
		return nil
	}
	return yield(ingest.Batch{From: n - int64(len(b.events)), To: n, Events: b.events})
}
