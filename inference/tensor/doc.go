// Package tensor describes the inputs and outputs of models and owns the memory that they are read from and written to. Every
// tensor has rows first: one for each candidate.
package tensor
