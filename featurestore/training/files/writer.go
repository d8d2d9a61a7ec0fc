package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Writer writes a table. A file has a temporary name beside its own until it is whole. It
// is not safe for concurrent use.
type Writer struct {
	name string
	out  *output
	to   batchWriter
	file *os.File // nil for the standard output
}

// batchWriter writes one format; Close ends the table, not the file.
type batchWriter interface {
	Write(batch arrow.RecordBatch) error
	Close() error
}

// output is a buffered file. It has no Close, so that the writers of formats cannot close it.
type output struct{ *bufio.Writer }

// Create begins a table, [Std] for CSV on stdout. The caller calls Commit or Abort.
func Create(name string, stdout io.Writer, schema *arrow.Schema) (*Writer, error) {
	f, err := formatOf(name)
	if err != nil {
		return nil, err
	}
	w := &Writer{name: name}
	to := stdout
	if name != Std {
		if w.file, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*"); err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
		to = w.file
	}
	w.out = &output{bufio.NewWriterSize(to, 1<<20)}
	if w.to, err = newWriter(f, w.out, schema); err != nil {
		err = fmt.Errorf("writing %s: %w", w.shown(), err)
		w.Abort()
		return nil, err
	}
	return w, nil
}

func newWriter(f format, out *output, schema *arrow.Schema) (batchWriter, error) {
	switch f {
	case parquetFormat:
		return newParquet(out, schema)
	case arrowFormat:
		return ipc.NewFileWriter(out, ipc.WithSchema(schema))
	case streamFormat:
		return ipc.NewWriter(out, ipc.WithSchema(schema)), nil
	default:
		return newCSV(out, schema)
	}
}

func (w *Writer) shown() string {
	if w.name == Std {
		return "to the standard output"
	}
	return w.name
}

// Write writes a batch of the schema.
func (w *Writer) Write(batch arrow.RecordBatch) (err error) {
	if err := w.to.Write(batch); err != nil {
		return fmt.Errorf("writing %s: %w", w.shown(), err)
	}
	return nil
}

// Cut begins a new row group where the format has such, which is held in memory until it is
// written: for rows that are large. Another batch must follow.
func (w *Writer) Cut() error {
	to, ok := w.to.(parquetWriter)
	if !ok {
		return nil
	}
	if err := to.cut(); err != nil {
		return fmt.Errorf("writing %s: %w", w.shown(), err)
	}
	return nil
}

// Commit ends the table, and gives the file its name when all of it is on the disk. A file
// of that name is replaced.
func (w *Writer) Commit() error {
	if err := w.commit(); err != nil {
		w.Abort()
		return fmt.Errorf("writing %s: %w", w.shown(), err)
	}
	w.file = nil
	return nil
}

func (w *Writer) commit() error {
	if err := w.to.Close(); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil || w.file == nil {
		return err
	}
	// CreateTemp's files are for their owner alone; others are as the umask has it, which only
	// a file that is made anew can tell.
	if err := errors.Join(w.file.Chmod(modeOf(w.name)), w.file.Sync()); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	return os.Rename(w.file.Name(), w.name)
}

// modeOf is the mode of the file that is there, else what most have.
func modeOf(name string) os.FileMode {
	const usual = 0o644
	if info, err := os.Stat(name); err == nil {
		return info.Mode().Perm()
	}
	return usual
}

// Abort removes what was written. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	// What cannot be removed is left with a name that says what it is.
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
	w.file = nil
}
