// Package batching shares the runs of a model among the requests that wait for it.
//
// A request fills memory of its own and asks for a run. When an instance of the model is free the run begins at once, on that very
// memory; so an idle model adds no wait and no copy. While all instances are busy requests wait, in the order of priority and
// deadline, and the next run takes as many of them as fit: the busier the model, the larger its runs. A run of
// several has a goroutine and memory of its own, to which their rows are copied, so that each caller can go when its context ends; when it
// ends it begins the next.
//
// A fit of the time that a run takes, a·rows + b, bounds a run to what its tightest deadline allows, and refuses at once a request
// that would wait in vain.
package batching
