package rpc

import (
	"context"
	"maps"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// features reads the model's columns once more, for the returned candidates, as of the
// same time.
func (c *hopCall) features(hop *inference.Hop, indexes []uint32) ([]*onehopv1.Column, error) {
	p := hop.Plan
	builders, cells := make([]columnBuilder, len(p.Columns)), make([]featurestore.Cell, p.Cells)
	request, computer := make([]featurestore.Value, len(p.Request)), p.Computer()
	byName := map[string]*onehopv1.Column{}
	for i, column := range p.Columns {
		builders[i] = newColumn(column.Ref.String(), column.Type, len(indexes))
		byName[column.Ref.String()] = builders[i].column
	}
	for _, at := range indexes {
		if err := hop.Read(&c.request, int(at), c.result.ReadTime, cells); err != nil {
			return nil, err
		}
		computer.Compute(cells, valuesAt(request, c.request.Values, int(at)))
		hop.Computed(cells)
		for i := range p.Columns {
			builders[i].add(&cells[p.Columns[i].Cell])
		}
	}
	for i, field := range hop.Definition.Request {
		byName["request."+field.Name] = c.fieldColumn(field.Name, field.Type, i, indexes)
	}
	columns := make([]*onehopv1.Column, len(hop.Columns))
	for i, name := range hop.Columns {
		columns[i] = byName[name]
	}
	return columns, nil
}

func (c *hopCall) fieldColumn(name string, t featurestore.Type, field int, indexes []uint32) *onehopv1.Column {
	numbers, texts := c.request.Fields[field], c.request.Texts[field]
	if t != featurestore.String {
		t = featurestore.Float64
	}
	b := newColumn("request."+name, t, len(indexes))
	for _, at := range indexes {
		cell := featurestore.Cell{Status: featurestore.Defaulted}
		switch {
		case len(numbers) > 0:
			cell = featurestore.Cell{Value: featurestore.FloatValue(numbers[min(int(at), len(numbers)-1)]), Status: featurestore.Present}
		case len(texts) > 0:
			cell = featurestore.Cell{Value: featurestore.StringValue(texts[min(int(at), len(texts)-1)]), Status: featurestore.Present}
		}
		b.add(&cell)
	}
	return b.column
}

// Predict scores rows whose columns the request brings.
func (s *Inference) Predict(ctx context.Context, req *onehopv1.PredictRequest) (*onehopv1.PredictResponse, error) {
	picked, err := s.Models.Pick(inference.Want{Model: req.GetModel(), Version: req.GetVersion(), Alias: req.GetAlias()})
	if err != nil {
		return nil, err
	}
	defer picked.Release()
	hop := picked.Hop
	err = checkNames("columns", req.GetColumns(), func(name string) bool { return slices.Contains(hop.Columns, name) }, slices.Clone(hop.Columns))
	if err != nil {
		return nil, err
	}
	columns, rows := map[string]inference.Given{}, 0
	for _, name := range slices.Sorted(maps.Keys(req.GetColumns())) {
		given, err := givenColumn(hop, name, req.GetColumns()[name])
		if err != nil {
			return nil, err
		}
		columns[name] = given
		rows = max(rows, given.Rows())
	}
	if rows > maxRows {
		return nil, featurestore.Errorf(featurestore.Invalid, "columns: %d rows; at most %d are allowed in a request", rows, maxRows)
	}
	for name, given := range columns {
		if n := given.Rows(); n != rows && n != 1 {
			return nil, featurestore.Errorf(featurestore.Invalid, "columns: %q has %d values where there are %d rows", name, n, rows)
		}
	}
	scores, err := hop.Predict(ctx, rows, columns)
	if err != nil {
		return nil, err
	}
	return &onehopv1.PredictResponse{Model: hop.Model.Name, ModelVersion: int64(hop.Model.Number), Scores: scores}, nil
}

// givenColumn takes the values of a column as its place in the model's input wants them.
func givenColumn(hop *inference.Hop, name string, v *onehopv1.Values) (given inference.Given, err error) {
	isText, length := hop.Kind(name)
	lengths := v.GetListLengths()
	if length > 0 { // the elements of all lists, one behind the other
		v = &onehopv1.Values{Int64: v.GetInt64(), Double: v.GetDouble(), String_: v.GetString_(), Bool: v.GetBool(), Bytes: v.GetBytes()}
	}
	if isText {
		given.Texts, err = texts("columns", name, v)
	} else {
		given.Numbers, err = floats("columns", name, v)
	}
	if err != nil || length == 0 {
		return given, err
	}
	given.Lengths = lengths
	total := 0
	for _, n := range given.Lengths {
		total += int(n)
	}
	if len(given.Lengths) == 0 || total != max(len(given.Numbers), len(given.Texts)) {
		return given, featurestore.Errorf(featurestore.Invalid, "columns: %q is of lists: list_lengths must say how many values each row has", name)
	}
	return given, nil
}
