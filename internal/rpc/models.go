package rpc

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/inference/traffic"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// Answers counts predictions by the version and the variant that answered. Callers cannot make more of them: there are as many
// as the repository has versions and the traffic variants.
type Answers struct {
	total *prometheus.CounterVec
}

// NewAnswers registers the counters.
func NewAnswers(r prometheus.Registerer) *Answers {
	a := &Answers{total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "onehop_model_requests_total", Help: "Requests for predictions by model, version, variant and outcome: ok, error, or invalid, which is the caller's mistake.",
	}, []string{"model", "version", "variant", "outcome"})}
	r.MustRegister(a.total)
	return a
}

func (a *Answers) count(p *inference.Picked, err error) {
	if a == nil {
		return
	}
	a.total.WithLabelValues(p.Model.Name, strconv.Itoa(p.Model.Number), p.Variant, outcomeOf(err)).Inc()
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	known, ok := errors.AsType[*featurestore.Error](err)
	if ok && (known.Code == featurestore.Invalid || known.Code == featurestore.Unknown) {
		return "invalid"
	}
	return "error"
}

// ListModels lists every version in the repository, also those that cannot be served, and which of them answer.
func (s *Inference) ListModels(context.Context, *onehopv1.ListModelsRequest) (*onehopv1.ListModelsResponse, error) {
	res := &onehopv1.ListModelsResponse{}
	if s.Switches.Store != nil {
		res.Namespace = s.Switches.Store.Namespace()
	}
	for _, m := range s.Models.Models() {
		out := &onehopv1.Model{Name: m.Model, Version: int64(m.Number), Default: m.Default, Sha256: m.SHA256}
		if m.Problem != nil {
			out.Problem = m.Problem.Error()
		}
		if m.Hop != nil {
			out.Columns, out.Candidates = m.Hop.Columns, m.Hop.Definition.Candidates
			for kind, s := range m.Hop.Model.Kept() {
				if !s.On {
					out.CachesOff = append(out.CachesOff, kind)
				}
			}
			slices.Sort(out.CachesOff)
		}
		res.Models = append(res.Models, out)
	}
	for _, r := range s.Models.Routes() {
		res.Routes = append(res.Routes, routeOf(r))
	}
	return res, nil
}

func routeOf(r *inference.Route) *onehopv1.Route {
	out := &onehopv1.Route{
		Model: r.Model, Traffic: trafficOf(&r.Traffic), File: r.File, SwitchId: r.Switch, RestInForce: r.RestInForce, DefaultUnknown: r.DefaultUnknown,
	}
	if r.Problem != nil {
		out.Problem = r.Problem.Error()
	}
	return out
}

func trafficOf(t *traffic.Traffic) *onehopv1.Traffic {
	out := &onehopv1.Traffic{DefaultVersion: t.Default, Aliases: t.Aliases, Shadow: shareOf(t.Shadow)}
	if t.Split == nil {
		return out
	}
	out.Split = &onehopv1.Split{Canary: shareOf(t.Split.Canary)}
	if ab := t.Split.AB; ab != nil {
		out.Split.Ab = &onehopv1.ABTest{By: ab.By}
		for _, v := range ab.Variants {
			out.Split.Ab.Variants = append(out.Split.Ab.Variants, &onehopv1.Variant{Name: v.Name, Version: v.Version, Percent: v.Percent})
		}
	}
	return out
}

func shareOf(s *traffic.Share) *onehopv1.Share {
	if s == nil {
		return nil
	}
	return &onehopv1.Share{Version: s.Version, Percent: s.Percent}
}
