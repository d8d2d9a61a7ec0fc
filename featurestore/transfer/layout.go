package transfer

import (
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
	// share no memory with what it reads. Errors name the column.
	next(e *featurestore.Event) error
	close() error
}

// open opens a file of a source's events.
func open(ctx context.Context, name string, source *featurestore.Source) (rows, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return openCSV(name, source)
	case ".parquet":
		return openParquet(ctx, name, source)
	default:
		return nil, errors.New("the format is told by the extension: .csv or .parquet")
	}
}

// What a column is, where it is no field.
const (
	isEventTime = -1 - iota
	isRecordTime
	isDeleted
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

var (
	errTombstone = errors.New("is true: it is a tombstone, and those are not imported; leave it out, and the events before it of its entity")
	errNoTime    = errors.New("has no value: every event needs its time")
)
