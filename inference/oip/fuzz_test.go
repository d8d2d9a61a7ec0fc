package oip

import (
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/schemas/inference"
)

// FuzzAnswer: whatever bytes come as an answer, it is read whole or refused, and never writes beyond the rows that were sent.
func FuzzAnswer(f *testing.F) {
	const room, rows = 4, 3
	score := func(datatype string, raw []byte, contents *inference.InferTensorContents) []byte {
		res := &inference.ModelInferResponse{Outputs: []*inference.ModelInferResponse_InferOutputTensor{{Name: "y", Datatype: datatype, Shape: []int64{rows, 1}, Contents: contents}}}
		if raw != nil {
			res.RawOutputContents = [][]byte{raw}
		}
		message, err := proto.Marshal(res)
		if err != nil {
			f.Fatal(err)
		}
		return message
	}
	f.Add(score("FP32", make([]byte, 12), nil), uint8(tensor.Float32))
	f.Add(score("FP16", make([]byte, 6), nil), uint8(tensor.Float16))
	f.Add(score("FP64", nil, &inference.InferTensorContents{Fp64Contents: []float64{1, 2, math.NaN()}}), uint8(tensor.Float64))
	f.Add(score("INT64", nil, &inference.InferTensorContents{Int64Contents: []int64{1, 2, 3}}), uint8(tensor.Int64))
	f.Add(score("INT32", nil, &inference.InferTensorContents{IntContents: []int32{1, 2, 3}}), uint8(tensor.Int32))
	f.Add([]byte{}, uint8(tensor.Float32))
	f.Fuzz(func(t *testing.T, message []byte, of uint8) {
		kind := tensor.Float16 + tensor.Type(of)%(tensor.Int64-tensor.Float16+1)
		res := &inference.ModelInferResponse{}
		if proto.Unmarshal(message, res) != nil {
			t.Skip("no message: the client refuses it before it is read as an answer")
		}
		m := &Model{output: "y", metadata: &metadata{outputs: []tensor.Info{{Name: "y", Type: kind, Shape: []int64{-1, 1}}}}}
		memory, err := tensor.NewMemory(nil, m.metadata.outputs, room)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = memory.Free() }()
		whole := memory.Output(0, room)
		for i := range whole {
			whole[i] = 0xa5
		}
		b := &Batch{model: m, memory: memory, rows: rows}
		err = b.read(res)
		if err != nil && !errors.Is(err, errAnswer) {
			t.Errorf("error %v is no bad answer", err)
		}
		for _, left := range whole[rows*kind.Size():] {
			if left != 0xa5 {
				t.Fatal("it wrote beyond the rows")
			}
		}
		if err == nil {
			memory.Done(rows)
			if got := len(memory.Scores(0)); got != rows {
				t.Errorf("%d scores of %d rows", got, rows)
			}
		}
	})
}
