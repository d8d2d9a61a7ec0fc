package oip

import (
	"fmt"
	"strings"
)

// Public words an error for those who may not know where models live: errors of this package in it name the server by its place in
// model.yaml, and neither its address nor what it said.
func Public(err error) string {
	text := err.Error()
	for _, e := range within(err) {
		text = strings.Replace(text, e.Error(), e.public(), 1)
	}
	return text
}

func (e *Error) public() string {
	if e.Endpoint == "" {
		return e.Error()
	}
	server := fmt.Sprintf("%s at server %d of %d", e.Model, e.Server, e.Servers)
	if e.Outcome == BadAnswer { // of which this side found out what is wrong with it
		return server + ": " + Public(e.Err)
	}
	return fmt.Sprintf("%s: %s; the log of infer says more", server, e.Outcome)
}

// within are the outermost errors of this package in a tree of errors.
func within(err error) []*Error {
	switch e := err.(type) { //nolint:errorlint // it walks the whole tree; errors.As finds one of many
	case *Error:
		return []*Error{e}
	case interface{ Unwrap() error }:
		return within(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*Error
		for _, part := range e.Unwrap() {
			all = append(all, within(part)...)
		}
		return all
	default:
		return nil
	}
}
