// Package table joins features to spines that are Arrow tables. A spine is a stream of
// record batches with a column for each join key and a column of times; the training set
// has its rows, in its order, and after its columns one for each feature. Rows are joined
// in chunks that a budget of memory bounds, however long the spine is.
//
// It owns the conversion of Arrow columns to keys and times and of answers to Arrow
// columns. Where spines come from and training sets go to is its callers'.
package table
