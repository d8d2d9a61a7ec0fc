package servedlog

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
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
	e := &encoder{
		Vectors: v, computer: v.Plan.Computer(), cells: make([]featurestore.Cell, v.Plan.Cells), request: make([]featurestore.Value, len(v.Plan.Request)),
	}
	for row := range v.Rows {
		value, failed := e.encode(row)
		if failed != nil {
			err = failed
			continue
		}
		records = append(records, value)
	}
	return records, err
}

// encoder makes the records of one request.
type encoder struct {
	*Vectors
	computer *plan.Computer
	cells    []featurestore.Cell
	request  []featurestore.Value
}

// encode makes the record of one vector.
func (e *encoder) encode(row int) ([]byte, error) {
	r := &served.Record{
		Kind: e.Kind, Name: e.Name, Version: e.Version, Definitions: int64(e.Plan.Catalog.Version), RequestID: e.RequestID,
		Row: int64(row), ReadTime: e.Now,
	}
	for i, entity := range e.Plan.Entities {
		r.Entities = append(r.Entities, served.Entity{Name: entity.Name, Key: e.Keys[i].At(row)})
	}
	e.fields(r, row)
	if e.Scores != nil {
		score := float64(e.Scores[row])
		r.Score = &score
	}
	if err := e.read(r, row); err != nil {
		return nil, err
	}
	e.computer.Compute(e.cells, e.request)
	for i := range e.Plan.Columns {
		column := &e.Plan.Columns[i]
		cell := &e.cells[column.Cell]
		r.Features = append(r.Features, served.Feature{
			Name: column.Ref.String(), Status: cell.Status, EventTime: cell.EventTime, JSON: served.ValueJSON(&cell.Value),
		})
	}
	return r.Encode()
}

// fields takes the request fields of a vector.
func (e *encoder) fields(r *served.Record, row int) {
	for i, values := range e.Request {
		e.request[i] = values[min(row, len(values)-1)]
		r.Request = append(r.Request, served.Field{Name: e.Plan.Request[i].Name, JSON: served.ValueJSON(&e.request[i])})
	}
	for _, n := range e.Numbers {
		value := featurestore.FloatValue(n.Values[min(row, len(n.Values)-1)])
		r.Request = append(r.Request, served.Field{Name: n.Name, JSON: served.ValueJSON(&value)})
	}
}

// read reads the cells of a vector from its rows.
func (e *encoder) read(r *served.Record, row int) error {
	first := 0
	for i := range e.Plan.Views {
		view := &e.Plan.Views[i]
		n := e.Keys[view.Entity].Len()
		at := first + min(row, n-1)
		first += n
		if err := view.Reader.Read(e.Read.Row(at), e.Now, e.cells[view.First:view.First+len(view.Columns)]); err != nil {
			return err
		}
		r.Rows = append(r.Rows, served.Row{View: view.Name, Generation: view.Generation, Marks: marksOf(e.Read, at)})
	}
	return nil
}

func marksOf(read *online.Read, row int) []served.Mark {
	of := read.Marks(row)
	marks := make([]served.Mark, 0, len(of))
	for id, next := range of {
		marks = append(marks, served.Mark{Topic: id.Topic, Partition: id.Partition, Next: next})
	}
	served.SortMarks(marks)
	return marks
}
