package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// rows reads the rows of a file in one format.
type rows interface {
	// next reads a row into an event whose values are null; io.EOF is the end. Values
	// are good until the next row. Errors name the column.
	next(e *featurestore.Event) error
	close() error
}

// open opens a file of a source's events.
func open(ctx context.Context, f *File) (rows, error) {
	switch strings.ToLower(filepath.Ext(f.Name)) {
	case ".csv":
		return openCSV(f)
	case ".parquet":
		return openParquet(ctx, f)
	default:
		return nil, errors.New("the format is told by the extension: .csv or .parquet")
	}
}

// What a column is, where it is no field.
const (
	isEventTime = -1 - iota
	isRecordTime
	isDeleted
	isTopic
	isIgnored
)

// layoutOf says for each column of a file which field it is, or what else.
func layoutOf(source *featurestore.Source, header []string) ([]int, error) {
	fields := columnsOf(source)
	what := make([]int, len(header))
	for i, name := range header {
		if slices.Contains(header[:i], name) {
			return nil, fmt.Errorf("there are two columns %q: rename one", name)
		}
		switch at := slices.Index(fields, name); {
		case at >= 0:
			what[i] = at
		case name == eventTime:
			what[i] = isEventTime
		case name == recordTime:
			what[i] = isRecordTime
		case name == deleted:
			what[i] = isDeleted
		case name == topicID:
			what[i] = isTopic
		case ofOrigin(name): // of an export
			what[i] = isIgnored
		default:
			return nil, fmt.Errorf("column %q is no field of source %q: rename it, or leave it out; its columns are %s",
				name, source.Name, strings.Join(append([]string{eventTime, recordTime}, fields...), ", "))
		}
	}
	if !slices.Contains(header, eventTime) {
		return nil, fmt.Errorf("there is no column %q: when each event happened", eventTime)
	}
	for i, name := range fields {
		if source.Fields[i].Required && !slices.Contains(header, name) {
			return nil, fmt.Errorf("there is no column %q, and the field is required", name)
		}
	}
	return what, nil
}

// inColumn says which column an error is about; err continues the sentence.
func inColumn(name string, err error) error { return fmt.Errorf("column %q %w", name, err) }

// origins refuses rows that are in history already, as those of an export of the very source.
type origins struct {
	source string
	known  map[string]bool
	last   []byte // a topic that is not known: most rows have that of the row before
}

// check checks the topic of a row.
func (o *origins) check(topic []byte) error {
	if len(o.last) > 0 && bytes.Equal(topic, o.last) {
		return nil
	}
	if o.known[strings.ReplaceAll(strings.ToLower(string(topic)), "-", "")] {
		return fmt.Errorf("is %s, of which history has the events: the file is an export of source %q itself", topic, o.source)
	}
	o.last = append(o.last[:0], topic...)
	return nil
}

var (
	errTombstone = errors.New("is true: it is a tombstone, and those are not imported; leave it out, and the events before it of its entity")
	errNoTime    = errors.New("has no value: every event needs its time")
)
