package files

import (
	"errors"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func openArrow(file *os.File, r *Reader) (array.RecordReader, error) {
	reader, err := ipc.NewFileReader(file)
	if err != nil {
		return nil, err
	}
	r.closes = append([]func() error{reader.Close}, r.closes...)
	return array.ReaderFromIter(reader.Schema(), func(yield func(arrow.RecordBatch, error) bool) {
		for i := range reader.NumRecords() {
			batch, err := readAt(reader, i)
			if !yield(batch, err) || err != nil {
				return
			}
		}
	}), nil
}

// readAt turns panics into errors itself: the iterator is not run by its caller's stack.
func readAt(reader *ipc.FileReader, i int) (batch arrow.RecordBatch, err error) {
	defer recovered(&err)
	return reader.RecordBatchAt(i)
}

// streamReader reads an Arrow stream, which must have its end.
type streamReader struct {
	*ipc.Reader
	from *ending
	err  error
}

func openStream(file io.Reader) (array.RecordReader, error) {
	from := &ending{r: file}
	reader, err := ipc.NewReader(from)
	if err != nil {
		return nil, err
	}
	return &streamReader{Reader: reader, from: from}, nil
}

func (r *streamReader) Next() bool {
	if r.Reader.Next() {
		return true
	}
	if err := r.Reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	} else if !r.from.whole() {
		r.err = errors.New("the stream is cut off: it lacks its end")
	}
	return false
}

func (r *streamReader) Err() error { return r.err }

// ending remembers the last bytes that were read: a stream that is whole ends with a
// message of length 0.
type ending struct {
	r    io.Reader
	last [8]byte
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	all := append(e.last[:], p[max(0, n-len(e.last)):n]...)
	copy(e.last[:], all[len(all)-len(e.last):])
	return n, err
}

func (e *ending) whole() bool { return e.last == [8]byte{0xff, 0xff, 0xff, 0xff} }
