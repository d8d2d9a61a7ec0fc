package oip

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/schemas/inference"
)

// datatypes are the protocol's names of the types that columns can fill.
var datatypes = map[tensor.Type]string{
	tensor.Float16: "FP16", tensor.Float32: "FP32", tensor.Float64: "FP64",
	tensor.Int32: "INT32", tensor.Int64: "INT64", tensor.String: "BYTES",
}

func typeOf(datatype string) tensor.Type {
	for t, name := range datatypes {
		if name == datatype {
			return t
		}
	}
	return tensor.Other
}

// metadata is what a server says of a model.
type metadata struct {
	inputs, outputs []tensor.Info
	digest          string
}

// describe reads a server's description. All inputs must be such that columns can fill them, and the output a numeric tensor of rows.
func describe(from *inference.ModelMetadataResponse, output string) (*metadata, error) {
	m := &metadata{digest: digest(from)}
	if len(from.GetInputs()) == 0 {
		return nil, errors.New("its metadata names no inputs: have the server declare them (MLServer: inputs and outputs in model-settings.json; KServe: get_input_types and get_output_types)")
	}
	for _, in := range from.GetInputs() {
		info, err := describeTensor("input", in)
		if err != nil {
			return nil, err
		}
		if info.Width() < 1 {
			return nil, fmt.Errorf("input %s: the shape must be [rows, ...], every size but rows known, and at most %d elements a row", info, tensor.MaxWidth)
		}
		m.inputs = append(m.inputs, info)
	}
	at := slices.IndexFunc(from.GetOutputs(), func(o *inference.ModelMetadataResponse_TensorMetadata) bool { return o.GetName() == output })
	if at < 0 {
		return nil, fmt.Errorf("it has no output %q, only %q", output, names(from.GetOutputs()))
	}
	info, err := describeTensor("output", from.GetOutputs()[at])
	if err == nil && info.Type == tensor.String {
		err = fmt.Errorf("output %s is of BYTES: a score is a number", info)
	}
	m.outputs = []tensor.Info{info}
	return m, err
}

func describeTensor(what string, from *inference.ModelMetadataResponse_TensorMetadata) (tensor.Info, error) {
	info := tensor.Info{Name: from.GetName(), Type: typeOf(from.GetDatatype()), Shape: slices.Clone(from.GetShape())}
	if info.Type == tensor.Other {
		return info, fmt.Errorf("%s %q is of datatype %q; FP16, FP32, FP64, INT32, INT64 and BYTES can be used", what, from.GetName(), from.GetDatatype())
	}
	if len(info.Shape) == 0 {
		return info, fmt.Errorf("%s %q has no dimension: the first one must count rows", what, from.GetName())
	}
	return info, nil
}

func names(of []*inference.ModelMetadataResponse_TensorMetadata) []string {
	all := make([]string, len(of))
	for i, o := range of {
		all[i] = o.GetName()
	}
	return all
}

// fixedRows is the number of rows that the inputs are fixed to, or 0.
func fixedRows(inputs []tensor.Info) (rows int, err error) {
	for _, input := range inputs {
		first := input.Shape[0]
		switch {
		case first < 1 || int(first) == rows:
		case rows > 0:
			return 0, fmt.Errorf("input %s: another input is fixed to %d rows", input, rows)
		case first > maxFixedRows:
			return 0, fmt.Errorf("input %s: at most %d rows can be sent", input, maxFixedRows)
		default:
			rows = int(first)
		}
	}
	return rows, nil
}

// maxFixedRows bounds what a server can have us allocate.
const maxFixedRows = 1 << 14

// digest tells one description from another.
func digest(m *inference.ModelMetadataResponse) string {
	text := fmt.Appendf(nil, "%q %q %q\n", m.GetName(), m.GetVersions(), m.GetPlatform())
	for _, list := range [][]*inference.ModelMetadataResponse_TensorMetadata{m.GetInputs(), m.GetOutputs()} {
		for _, t := range list {
			text = fmt.Appendf(text, "%q %q %v\n", t.GetName(), t.GetDatatype(), t.GetShape())
		}
		text = append(text, '\n')
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
