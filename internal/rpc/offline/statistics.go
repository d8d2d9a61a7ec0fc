package offline

import (
	"cmp"
	"context"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/maintain"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// GetFeatureStatistics sums features up. It takes a place among the training sets that are
// made at a time: it asks Postgres for as much.
func (f *Features) GetFeatureStatistics(ctx context.Context, req *onehopv1.GetFeatureStatisticsRequest) (*onehopv1.GetFeatureStatisticsResponse, error) {
	select {
	case f.running <- struct{}{}:
		defer func() { <-f.running }()
	default:
		return nil, featurestore.Errorf(featurestore.Exhausted, "%d training sets or statistics are being made; try again later", maxTrainingSets)
	}
	definitions, err := f.Definitions.Get()
	if err != nil {
		return nil, err
	}
	p, err := f.Plan(definitions, req.GetFeatureService(), req.GetFeatures())
	if err != nil {
		return nil, err
	}
	namespace := definitions.Catalog.Namespace
	baselines, err := maintain.Baselines(ctx, f.pool, namespace, req.GetFeatureService())
	if err != nil {
		return nil, unavailable(err)
	}
	snapshot, err := history.OpenSnapshot(ctx, f.pool, namespace, nil)
	if err != nil {
		return nil, unavailable(err)
	}
	defer snapshot.Close(ctx)
	const days, sample = 1, 1000
	times := maintain.EndsOfDays(f.Now(), cmp.Or(int(req.GetDays()), days))
	all, err := maintain.Statistics(ctx, snapshot, definitions.Join(p.Plan), times, cmp.Or(int(req.GetSample()), sample), baselines)
	if err != nil {
		return nil, unavailable(err)
	}
	res := &onehopv1.GetFeatureStatisticsResponse{}
	for i := range all {
		res.Statistics = append(res.Statistics, statisticsMessage(&all[i]))
	}
	return res, nil
}

func statisticsMessage(s *maintain.FeatureStatistics) *onehopv1.FeatureStatistics {
	m := &onehopv1.FeatureStatistics{
		Feature: s.Feature, TimeUs: s.At.UnixMicro(), Rows: uint64(s.Rows), Nulls: uint64(s.Nulls), Distinct: uint64(s.Distinct), Psi: s.PSI,
	}
	if n := s.Numbers; n != nil {
		m.Numbers = &onehopv1.NumberStatistics{Mean: n.Mean, Deviation: n.Deviation, Min: n.Min, Max: n.Max, Quantiles: n.Quantiles[:]}
	}
	return m
}
