package offline

import (
	"math"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/statistics"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// TestFeatureStatistics: ten users with ten events each, whose newest numbers are 90 to 99.
func TestFeatureStatistics(t *testing.T) {
	tr := newTrainer(t, false)
	tr.events(t, 100)
	end := time.UnixMicro(trainerStart + 1000e6)
	tr.features.Now = func() time.Time { return end }
	definitions, err := tr.features.Definitions.Get()
	if err != nil {
		t.Fatal(err)
	}
	var drifted []featurestore.Cell // half of the numbers of now, and as many nulls
	for i := range int64(10) {
		drifted = append(drifted, featurestore.Cell{Status: featurestore.NotFound})
		if i >= 5 {
			drifted[i] = featurestore.Cell{Value: featurestore.IntValue(90 + i), Status: featurestore.Present}
		}
	}
	baselines := map[string]statistics.Baseline{"v.stars": statistics.NewBaseline(drifted)}
	if err := maintain.SaveBaselines(t.Context(), tr.pool, definitions.Catalog.Namespace, "all", baselines); err != nil {
		t.Fatal(err)
	}
	res, err := tr.client.GetFeatureStatistics(t.Context(), &onehopv1.GetFeatureStatisticsRequest{FeatureService: "all", Days: 2})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(res.GetStatistics()); n < 4 || n%2 != 0 { // two times of each feature
		t.Fatalf("%v", res)
	}
	count, stars := res.GetStatistics()[1], res.GetStatistics()[3]
	if count.GetFeature() != "v.n_lifetime" || count.GetRows() != 10 || count.GetNumbers().GetMean() != 10 || count.GetDistinct() != 1 || count.Psi != nil {
		t.Errorf("%v", count)
	}
	n := stars.GetNumbers()
	if stars.GetTimeUs() != end.UnixMicro() || stars.GetNulls() != 0 || n.GetMean() != 94.5 || n.GetMin() != 90 || n.GetMax() != 99 || len(n.GetQuantiles()) != 5 {
		t.Errorf("%v", stars)
	}
	if stars.Psi == nil || stars.GetPsi() < 1 || math.IsInf(stars.GetPsi(), 0) {
		t.Errorf("the drift is %v", stars.Psi)
	}
	if yesterday := res.GetStatistics()[2]; yesterday.GetNulls() != 10 || yesterday.Numbers != nil || yesterday.Psi != nil {
		t.Errorf("before the first event: %v", yesterday)
	}
	for _, req := range []*onehopv1.GetFeatureStatisticsRequest{{}, {Features: []string{"v.*"}, FeatureService: "all"}, {FeatureService: "all", Days: 32}, {FeatureService: "all", Sample: 10001}} {
		if _, err := tr.client.GetFeatureStatistics(t.Context(), req); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
	if _, err := tr.client.GetFeatureStatistics(t.Context(), &onehopv1.GetFeatureStatisticsRequest{FeatureService: "none"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("%v", err)
	}
	tr.offline.running <- struct{}{}
	tr.offline.running <- struct{}{}
	if _, err := tr.client.GetFeatureStatistics(t.Context(), &onehopv1.GetFeatureStatisticsRequest{FeatureService: "all"}); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("%v", err)
	}
}
