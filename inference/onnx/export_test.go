package onnx

import "github.com/onehop/onehop/inference/onnx/binding"

// Device is where graphs read and write.
type Device = device

// Capture captures the graphs of a session on another device than a GPU, where runs are not captured and do all over again.
func Capture(r *Runtime, s *Session, d Device, sizes []int) error {
	api, err := binding.Open(r.Library())
	if err != nil {
		return err
	}
	s.graphs, err = newGraphs(s, api, d, sizes)
	return err
}
