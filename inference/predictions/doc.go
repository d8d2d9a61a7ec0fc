// Package predictions keeps what a model answered, for requests that ask the same again: [Rows] the score of a row by its very inputs, which
// can be asked for instead of a run of the model, and [Answers] whole answers by what the caller asked for, which skip the features too.
//
// Keys hold all bytes that an answer follows from and are compared whole, so that no collision of hashes can answer wrongly. A cache belongs
// to one loaded version of a model and ends with it. Each has a [Gate], which turns it off while it costs more than it saves.
package predictions
