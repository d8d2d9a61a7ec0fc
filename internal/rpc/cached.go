package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/predictions"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// answer answers by one version: by its cache, where there is one and the request allows it.
func (s *Inference) answer(ctx context.Context, hop *inference.Hop, call *hopCall, req *onehopv1.GetFeaturesAndPredictRequest) (res *onehopv1.GetFeaturesAndPredictResponse, err error) {
	ctx, cancel := withPatience(ctx)
	defer cancel()
	logged, answers := s.Log.Sampled(hop.Definition.Log), hop.Model.Answers()
	if answers == nil {
		return s.compute(ctx, hop, call, req, logged)
	}
	if logged || !mayBeKept(req) {
		answers.Bypass()
		return s.compute(ctx, hop, call, req, logged)
	}
	found, err := answers.Get(ctx, &predictions.Question{
		Key: func(dst []byte) ([]byte, error) { return appendQuestion(dst, hop, req) },
		Compute: func(ctx context.Context) ([]byte, error) {
			if res, err = s.compute(ctx, hop, call, req, false); err != nil {
				return nil, err
			}
			return call.kept(res)
		},
	})
	call.left = found.Left
	if err != nil || found.Value == nil {
		return res, err
	}
	var kept onehopv1.GetFeaturesAndPredictResponse
	if err := proto.Unmarshal(found.Value, &kept); err != nil {
		return nil, fmt.Errorf("an answer of the cache of model %s version %d cannot be read: %w", hop.Model.Name, hop.Model.Number, err)
	}
	res = call.rank(hop, req, kept.GetScores())
	res.ReadTimeUs, res.FreshnessUs, res.StalenessUs = kept.GetReadTimeUs(), kept.GetFreshnessUs(), kept.GetStalenessUs()
	res.StatusCounts, res.Timings, res.Cached = kept.GetStatusCounts(), &onehopv1.Timings{}, true
	return res, nil
}

// mayBeKept says whether the answer to a request is one that others may have too.
func mayBeKept(req *onehopv1.GetFeaturesAndPredictRequest) bool {
	return !req.GetNoCache() && !req.GetProvenance() && !req.GetReturnFeatures() && !req.GetAllowStale() && req.GetMaxStalenessMs() == 0
}

// appendQuestion appends the bytes of all that the answer to a request follows from but the version of the model: the definitions, and the
// part of the request that is not only about how it is told.
func appendQuestion(dst []byte, hop *inference.Hop, req *onehopv1.GetFeaturesAndPredictRequest) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(hop.Plan.Catalog.Version))
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, &onehopv1.GetFeaturesAndPredictRequest{
		Entities: req.GetEntities(), Candidates: req.GetCandidates(), Request: req.GetRequest(), FailOnMissing: req.GetFailOnMissing(),
	})
}

// kept is what a cache keeps of an answer: all scores, in the order of the request; nil where the store did not give all that it has.
func (c *hopCall) kept(res *onehopv1.GetFeaturesAndPredictResponse) ([]byte, error) {
	if c.result.Statuses[featurestore.Stale]+c.result.Statuses[featurestore.Filling] > 0 {
		return nil, nil
	}
	value, err := proto.Marshal(&onehopv1.GetFeaturesAndPredictResponse{
		Scores: c.result.Scores, ReadTimeUs: res.GetReadTimeUs(), FreshnessUs: res.GetFreshnessUs(), StalenessUs: res.GetStalenessUs(),
		StatusCounts: res.GetStatusCounts(),
	})
	if err != nil {
		return nil, fmt.Errorf("keeping an answer: %w", err)
	}
	return value, nil
}

// allowKeeping tells caches between here and a caller who asks by GET for how long they may keep the answer, to the nearest second, as they count
// no finer; where it says nothing [unkept] forbids it. A response to a request with an
// Authorization header is for its caller only, unless it says that it is public (RFC 9111, 3.5), and so this one does not.
func allowKeeping(ctx context.Context, left time.Duration, err error) {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok || info.HTTPMethod() != http.MethodGet {
		return
	}
	if seconds := int64(left.Round(time.Second) / time.Second); err == nil && seconds > 0 {
		info.ResponseHeader().Set("Cache-Control", "max-age="+strconv.FormatInt(seconds, 10))
	}
}
