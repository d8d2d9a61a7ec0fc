package rpc

import (
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// respond answers with what was computed.
func (c *hopCall) respond(hop *inference.Hop, req *onehopv1.GetFeaturesAndPredictRequest) *onehopv1.GetFeaturesAndPredictResponse {
	res := c.rank(hop, req, c.result.Scores)
	res.ReadTimeUs, res.StatusCounts = c.result.ReadTime, map[string]uint32{}
	if c.result.Newest > 0 {
		res.FreshnessUs = max(0, c.result.ReadTime-c.result.Newest)
	}
	for status, n := range c.result.Statuses {
		if n > 0 {
			res.StatusCounts[featurestore.Status(status).String()] = n
		}
	}
	return res
}

// rank orders the candidates by score, best first; equal scores keep the request's
// order, and what has no score comes last.
func (c *hopCall) rank(hop *inference.Hop, req *onehopv1.GetFeaturesAndPredictRequest, scores []float32) *onehopv1.GetFeaturesAndPredictResponse {
	c.order = c.order[:0]
	for i, score := range scores {
		c.order = append(c.order, place(score, i))
	}
	c.order, c.room = sortPlaces(c.order, slices.Grow(c.room[:0], len(scores))[:len(scores)])
	k := len(c.order)
	if top := int(req.GetTopK()); top > 0 && top < k {
		k = top
	}
	res := &onehopv1.GetFeaturesAndPredictResponse{
		Model: hop.Model.Name, ModelVersion: int64(hop.Model.Number), Indexes: make([]uint32, k), Scores: make([]float32, k),
		Candidates: make(map[string]*onehopv1.Values, len(req.GetCandidates())),
	}
	for i, at := range c.order[:k] {
		res.Indexes[i], res.Scores[i] = uint32(at), scores[uint32(at)]
	}
	for name, values := range req.GetCandidates() {
		res.Candidates[name] = pick(values, res.GetIndexes())
	}
	return res
}

// place is a number that is the smaller the better a candidate's score is, and of equal scores the earlier it came; its lower half is the
// candidate. The bits of a float, without its sign, are in the order of its size.
func place(score float32, candidate int) uint64 {
	bits := math.Float32bits(score)
	switch {
	case math.IsNaN(float64(score)):
		bits = math.MaxUint32
	case score == 0:
		bits = 1 << 31 // minus zero is zero
	case bits>>31 == 0:
		bits = ^bits &^ (1 << 31) // the greatest first, and all before what is negative
	}
	return uint64(bits)<<32 | uint64(candidate)
}

// sortPlaces sorts places whose candidates are in order, by the bytes of their upper halves from the lowest to the highest. It needs
// room for as many, and returns what is sorted and what is room then.
func sortPlaces(places, room []uint64) (sorted, rest []uint64) {
	if len(places) == 0 {
		return places, room
	}
	for shift := 32; shift < 64; shift += 8 {
		var starts [256]uint32
		for _, p := range places {
			starts[byte(p>>shift)]++
		}
		if starts[byte(places[0]>>shift)] == uint32(len(places)) {
			continue // they have this byte in common
		}
		next := uint32(0)
		for b, n := range starts {
			starts[b] = next
			next += n
		}
		for _, p := range places {
			at := &starts[byte(p>>shift)]
			room[*at] = p
			*at++
		}
		places, room = room, places
	}
	return places, room
}

// pick takes the values at the given positions.
func pick(v *onehopv1.Values, indexes []uint32) *onehopv1.Values {
	out := &onehopv1.Values{}
	switch {
	case len(v.GetInt64()) > 0:
		out.Int64 = pickFrom(v.GetInt64(), indexes)
	case len(v.GetString_()) > 0:
		out.String_ = pickFrom(v.GetString_(), indexes)
	default:
		out.Bytes = pickFrom(v.GetBytes(), indexes)
	}
	return out
}

func pickFrom[T any](from []T, indexes []uint32) []T {
	out := make([]T, len(indexes))
	for i, at := range indexes {
		out[i] = from[at]
	}
	return out
}
