package rpc

import (
	"context"
	"crypto/rand"
	"slices"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/served"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/internal/servedlog"
)

// requestHeader is the header by which callers name a request, and by which they are told
// the name of one that is logged.
const requestHeader = "X-Request-Id"

// maxRequestID bounds the name of a request.
const maxRequestID = 128

// requestID is the name of a request that is logged: the caller's, if it is printable and not
// too long, else a random one.
func requestID(ctx context.Context) string {
	call, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok {
		return rand.Text()
	}
	id := call.RequestHeader().Get(requestHeader)
	if id == "" || len(id) > maxRequestID || !printable(id) {
		id = rand.Text()
	}
	call.ResponseHeader().Set(requestHeader, id)
	return id
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// vectors are what a call was answered with, in memory of their own but for the rows.
func (c *hopCall) vectors(hop *inference.Hop, read *online.Read, id string) *servedlog.Vectors {
	v := &servedlog.Vectors{
		Kind: served.Model, Name: hop.Model.Name, Version: int64(hop.Model.Number), Plan: hop.Plan, Rows: c.request.Candidates, Read: read,
		Now: c.request.Now, RequestID: id, Request: slices.Clone(c.request.Values), Scores: slices.Clone(c.result.Scores),
	}
	for i, field := range hop.Definition.Request {
		if len(c.request.Fields[i]) > 0 && !slices.ContainsFunc(hop.Plan.Request, func(f plan.RequestField) bool { return f.Name == field.Name }) {
			v.Numbers = append(v.Numbers, servedlog.Numbers{Name: field.Name, Values: c.request.Fields[i]})
		}
	}
	v.Keys = make([]plan.Keys, len(hop.Plan.Entities))
	for i := range v.Keys {
		v.Keys[i] = c.keys[i].Clone()
	}
	return v
}
