package servedlog

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/served"
)

// write encodes the vectors of a request and hands them to the Kafka client.
func (l *Log) write(ctx context.Context, v *Vectors) {
	defer l.bytes.Add(-int64(v.Read.Bytes()))
	defer v.Read.Release()
	source := v.Plan.Catalog.Source(featurestore.ServedSource)
	if source == nil { // a catalog that was not checked
		l.drop(v, dropEncode, v.Rows)
		return
	}
	records, err := encode(v)
	if err != nil {
		l.log.Warn("vectors were not logged", "kind", v.Kind, "name", v.Name, "vectors", v.Rows-len(records), "error", err)
		l.drop(v, dropEncode, v.Rows-len(records))
	}
	logged := l.logged.WithLabelValues(v.Kind, v.Name)
	full, refused := l.dropped.WithLabelValues(v.Kind, v.Name, dropFull), l.dropped.WithLabelValues(v.Kind, v.Name, dropKafka)
	for _, value := range records {
		// The records of a request stay together, so that they compress well.
		record := &kgo.Record{Topic: source.Topic, Key: []byte(v.RequestID), Value: value}
		l.client.TryProduce(ctx, record, func(_ *kgo.Record, err error) {
			switch {
			case err == nil:
				logged.Inc()
			case errors.Is(err, kgo.ErrMaxBuffered):
				full.Inc()
			default:
				refused.Inc()
			}
		})
	}
}

// encode are the records of the vectors. Those that cannot be made are left out, and the error
// says why the last one could not.
func encode(v *Vectors) (records [][]byte, err error) {
	var columns []served.Feature
	for row := range v.Rows {
		r := &served.Record{
			Kind: v.Kind, Name: v.Name, Version: v.Version, Definitions: int64(v.Plan.Catalog.Version), RequestID: v.RequestID,
			Row: int64(row), ReadTime: v.Now,
		}
		for i, e := range v.Plan.Entities {
			r.Entities = append(r.Entities, served.Entity{Name: e.Name, Key: v.Keys[i].At(row)})
		}
		for i := range v.Fields {
			if values := v.Values[i]; len(values) > 0 {
				r.Request = append(r.Request, served.Field{Name: v.Fields[i].Name, Value: values[min(row, len(values)-1)]})
			}
		}
		if v.Scores != nil {
			score := float64(v.Scores[row])
			r.Score = &score
		}
		if columns == nil {
			columns = make([]served.Feature, len(v.Plan.Columns))
		}
		r.Features = columns
		value, failed := encodeRow(v, r, row)
		if failed != nil {
			err = failed
			continue
		}
		records = append(records, value)
	}
	return records, err
}

// encodeRow reads the values of one vector, and encodes it.
func encodeRow(v *Vectors, r *served.Record, row int) ([]byte, error) {
	first := 0
	for i := range v.Plan.Views {
		view := &v.Plan.Views[i]
		n := v.Keys[view.Entity].Len()
		at := first + min(row, n-1)
		first += n
		cells := make([]featurestore.Cell, len(view.Columns))
		packed := v.Read.Row(at)
		if err := view.Reader.Read(packed, v.Now, cells); err != nil {
			return nil, err
		}
		for c, column := range view.Columns {
			r.Features[column] = served.Feature{
				Name: v.Plan.Columns[column].Ref.String(), Status: cells[c].Status, EventTime: cells[c].EventTime, JSON: served.ValueJSON(&cells[c].Value),
			}
		}
		r.Rows = append(r.Rows, served.Row{View: view.Name, Generation: view.Generation, Marks: marksOf(v.Read, at)})
	}
	return r.Encode()
}

func marksOf(read *online.Read, row int) []served.Mark {
	of := read.Marks(row)
	marks := make([]served.Mark, 0, len(of))
	for id, next := range of {
		marks = append(marks, mark(id, next))
	}
	served.SortMarks(marks)
	return marks
}

func mark(id ingest.PartitionID, next int64) served.Mark {
	return served.Mark{Topic: id.Topic, Partition: id.Partition, Next: next}
}
