package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore"
	featureplan "github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training/files"
)

// readCells reads the features of a plan from a training set, lists aside. A feature that
// the file has not is not in the map.
func readCells(ctx context.Context, name string, stdin io.Reader, p *featureplan.Plan) (_ map[string][]featurestore.Cell, err error) {
	r, err := files.Open(ctx, name, stdin, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	cells := map[string][]featurestore.Cell{}
	for r.Next() {
		batch := r.RecordBatch()
		for i := range p.Columns {
			feature := p.Columns[i].Ref.String()
			if p.Columns[i].Type.IsList() {
				continue
			}
			for _, at := range batch.Schema().FieldIndices(feature) {
				if typ := batch.Column(at).DataType(); typ.ID() != arrow.NULL && arrow.IsBaseBinary(typ.ID()) == isNumber(p.Columns[i].Type) {
					return nil, fmt.Errorf("%s: column %q is %s; the feature is %s", name, feature, typ, p.Columns[i].Type)
				}
				if cells[feature], err = appendCells(cells[feature], batch.Column(at)); err != nil {
					return nil, fmt.Errorf("%s: column %q %w", name, feature, err)
				}
			}
		}
	}
	if r.Err() != nil {
		return nil, r.Err()
	}
	if r.Rows() == 0 {
		return nil, fmt.Errorf("%s has no rows", name)
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("%s has none of the features: its columns must be named like them, view.feature", name)
	}
	return cells, nil
}

func isNumber(t featurestore.Type) bool { return t.IsNumber() || t == featurestore.Bool }

// appendCells appends the values of a column.
func appendCells(dst []featurestore.Cell, column arrow.Array) ([]featurestore.Cell, error) {
	value, err := valuesOf(column)
	if err != nil {
		return nil, err
	}
	for row := range column.Len() {
		cell := featurestore.Cell{Status: featurestore.Null}
		if column.IsValid(row) {
			cell.Value, cell.Status = value(row), featurestore.Present
		}
		dst = append(dst, cell)
	}
	return dst, nil
}

func valuesOf(column arrow.Array) (func(row int) featurestore.Value, error) {
	switch c := column.(type) {
	case *array.Int64:
		return func(row int) featurestore.Value { return featurestore.IntValue(c.Value(row)) }, nil
	case *array.Float64:
		return func(row int) featurestore.Value { return featurestore.FloatValue(c.Value(row)) }, nil
	case *array.Boolean:
		return func(row int) featurestore.Value { return featurestore.BoolValue(c.Value(row)) }, nil
	case *array.String:
		return func(row int) featurestore.Value { return featurestore.StringValue(c.Value(row)) }, nil
	case *array.Binary:
		return func(row int) featurestore.Value { return featurestore.BytesValue(c.Value(row)) }, nil
	case *array.Null:
		return func(int) featurestore.Value { return featurestore.Value{} }, nil
	default:
		return nil, fmt.Errorf("is %s, which no feature is: was it made by onehop training-set?", column.DataType())
	}
}
