package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/training/files"
)

// Export writes the history of a source as Parquet, one file for each day of event times in
// UTC: dir/day=2026-01-31/part-0.parquet. It is not safe for concurrent use.
type Export struct {
	source *featurestore.Source
	dir    string
	schema *arrow.Schema
	// Progress, if set, is told how many events more were written.
	Progress func(events int)
}

// sourceKey says in the metadata of a file whose events it has.
const sourceKey = "onehop.source"

// NewExport makes an export of a source of a namespace into a directory, which is made when
// there is something to write.
func NewExport(namespace string, source *featurestore.Source, dir string) *Export {
	fields := origin[:len(origin):len(origin)]
	for i, name := range columnsOf(source) {
		fields = append(fields, arrow.Field{Name: name, Type: arrowType(source.Fields[i].Type), Nullable: true})
	}
	metadata := arrow.NewMetadata([]string{sourceKey}, []string{namespace + "." + source.Name})
	return &Export{source: source, dir: dir, schema: arrow.NewSchema(fields, &metadata)}
}

// path is the name of a day's file.
func (x *Export) path(day int64) string {
	return filepath.Join(x.dir, dayColumn+"="+DayText(day), "part-0.parquet")
}

// DayText is a day, counted since 1970, as 2026-01-31.
func DayText(day int64) string { return time.Unix(day*86_400, 0).UTC().Format(time.DateOnly) }

// Written says whether a day's file is there and has as many events as history. A file of
// another source is an error.
func (x *Export) Written(day history.Day) (bool, error) {
	name := x.path(day.Number)
	f, err := file.OpenParquetFile(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil { // it was not written by this, or is damaged: it is not what is wanted
		return false, fmt.Errorf("%s is no whole Parquet file: remove it, or export elsewhere: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	want, _ := x.schema.Metadata().GetValue(sourceKey)
	if is := f.MetaData().KeyValueMetadata().FindValue(sourceKey); is == nil || *is != want {
		return false, fmt.Errorf("%s has other events than those of %s: export each source to a directory of its own", name, want)
	}
	return f.NumRows() == day.Events, nil
}

// What is held in memory of a file: a batch of so many rows or bytes, and a row group of so
// many bytes before it is packed.
const (
	batchRows  = 8192
	batchBytes = 4 << 20
	groupBytes = 64 << 20
)

// Day writes the file of a day, or replaces it, and says how many events it has. The file
// has its name when it is whole.
func (x *Export) Day(ctx context.Context, s *history.Snapshot, day int64) (events int64, err error) {
	name := x.path(day)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // as files are: for others to read
		return 0, fmt.Errorf("exporting: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(filepath.Dir(name)) // where nothing is in it
		}
	}()
	out, err := files.Create(name, nil, x.schema)
	if err != nil {
		return 0, err
	}
	defer out.Abort()
	w := newDayWriter(x.schema, out)
	defer w.builder.Release()
	err = s.Scan(ctx, x.source, day*history.MicrosPerDay, (day+1)*history.MicrosPerDay, func(topic featurestore.TopicID, e *featurestore.Event) error {
		w.add(topic, e)
		events++
		if w.rows < batchRows && w.bytes < batchBytes {
			return nil
		}
		x.tell(w.rows)
		return w.flush()
	})
	if err != nil {
		return 0, err
	}
	x.tell(w.rows)
	if err := w.flush(); err != nil {
		return 0, err
	}
	return events, out.Commit()
}

func (x *Export) tell(events int) {
	if x.Progress != nil {
		x.Progress(events)
	}
}

// dayWriter collects events in batches.
type dayWriter struct {
	out     *files.Writer
	builder *array.RecordBuilder
	adders  []func(v *featurestore.Value)
	rows    int
	bytes   int // about, of the batch
	group   int // and of the row group
	topic   featurestore.TopicID
	text    featurestore.Value // of the topic
}

func newDayWriter(schema *arrow.Schema, out *files.Writer) *dayWriter {
	w := &dayWriter{out: out, builder: array.NewRecordBuilder(memory.DefaultAllocator, schema)}
	for _, b := range w.builder.Fields() {
		w.adders = append(w.adders, adder(b))
	}
	return w
}

func (w *dayWriter) add(topic featurestore.TopicID, e *featurestore.Event) {
	if w.text.IsNull() || w.topic != topic {
		w.topic, w.text = topic, featurestore.StringValue(topic.String())
	}
	for i, v := range [...]featurestore.Value{
		featurestore.IntValue(e.Time), featurestore.IntValue(e.RecordTime), w.text,
		featurestore.IntValue(int64(e.Partition)), featurestore.IntValue(e.Offset), featurestore.IntValue(int64(e.Index)),
		featurestore.BoolValue(e.Delete),
	} {
		w.adders[i](&v)
		w.bytes += size(&v)
	}
	for i := range e.Values {
		v := &e.Values[i]
		w.bytes += size(v)
		if at := len(origin) + i; v.IsNull() {
			w.builder.Field(at).AppendNull()
		} else {
			w.adders[at](v)
		}
	}
	w.rows++
}

// size is about how many bytes a value takes.
func size(v *featurestore.Value) int {
	n := 8 + len(v.Bytes)
	for i := range v.List {
		n += 8 + len(v.List[i].Bytes)
	}
	return n
}

// flush writes the batch, in a row group of its own where the last one is full.
func (w *dayWriter) flush() error {
	if w.rows == 0 {
		return nil
	}
	if w.group > groupBytes {
		if err := w.out.Cut(); err != nil {
			return err
		}
		w.group = 0
	}
	w.group += w.bytes
	batch := w.builder.NewRecordBatch()
	defer batch.Release()
	w.rows, w.bytes = 0, 0
	return w.out.Write(batch)
}

// adder appends values that are not null to a builder.
func adder(b array.Builder) func(v *featurestore.Value) {
	switch b := b.(type) {
	case *array.Int64Builder:
		return func(v *featurestore.Value) { b.Append(v.Int()) }
	case *array.Int32Builder:
		return func(v *featurestore.Value) { b.Append(int32(v.Int())) }
	case *array.TimestampBuilder:
		return func(v *featurestore.Value) { b.Append(arrow.Timestamp(v.Int())) }
	case *array.Float64Builder:
		return func(v *featurestore.Value) { b.Append(v.Float()) }
	case *array.BooleanBuilder:
		return func(v *featurestore.Value) { b.Append(v.Bool()) }
	case *array.StringBuilder:
		return func(v *featurestore.Value) { b.BinaryBuilder.Append(v.Bytes) }
	case *array.ListBuilder:
		add := adder(b.ValueBuilder())
		return func(v *featurestore.Value) {
			b.Append(true)
			for i := range v.List {
				add(&v.List[i])
			}
		}
	default:
		bytes, _ := b.(*array.BinaryBuilder) // the last of arrowTypes
		return func(v *featurestore.Value) { bytes.Append(v.Bytes) }
	}
}
