// Package inference joins feature rows with models: it compiles, for each version of a
// model, which view's cell or which request field goes into which column of which
// input tensor, fills the model's input memory straight from packed rows, and runs it.
//
// It sees rows, never Redis: whoever calls it has fetched them.
package inference
