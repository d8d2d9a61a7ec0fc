package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/inference/oip/oiptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// TestModelOnAnotherServer: one call reads features and has them scored by a model that lives elsewhere; while its server is away callers
// are told so, and afterwards they have scores again.
func TestModelOnAnotherServer(t *testing.T) {
	server := oiptest.Start(t)
	described := oiptest.Describe("there", "FP32", "FP32")
	described.Inputs[0].Shape[1] = int64(rankWidths[0])
	server.Behave(oiptest.Behaviour{Metadata: described})
	s := rankStack(t)
	dir := filepath.Join(s.models, "ranker", "2")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(rankSpec+oiptest.Remote(server)), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(-2 * time.Second)
	s.onehop.WaitVisible(t, s.onehop.Produce(t, "ratings",
		visit(1, "de|x", "y", 4, now), visit(1, "de|x", "y", 5, now.Add(time.Second)), visit(2, "de", "x|y", 1, now))...)
	predict := func() (*onehopv1.GetFeaturesAndPredictResponse, error) {
		return s.onehop.Inference().GetFeaturesAndPredict(t.Context(), rankRequest())
	}
	check := func() error {
		res, err := predict()
		if err != nil {
			return err
		}
		if res.GetModelVersion() != 2 {
			return fmt.Errorf("version %d answers", res.GetModelVersion())
		}
		// The sums of the features that the same request has in TestScoresAreTheModelsOnTheFeatures.
		want := map[uint32]float64{0: 2 + 4.5 + 2 + 5 + 12 - 0.5 + 1, 1: 2 + 4.5 + 1 + 1 + 12 + 3.5, 2: 2 + 4.5 + 2.5 + 12 - 9}
		for i, at := range res.GetIndexes() {
			if math.Abs(float64(res.GetScores()[i])-want[at]) > 1e-5 {
				t.Errorf("candidate %d scores %v, want %v", at, res.GetScores()[i], want[at])
			}
		}
		return nil
	}
	eventually(t, 15*time.Second, "the model is served from the other server", check)

	server.Kill(t)
	if _, err := predict(); connect.CodeOf(err) != connect.CodeUnavailable || strings.Contains(err.Error(), server.Address()) {
		t.Errorf("without the server: %v, want unavailable and nothing internal", err)
	}
	server.Restart(t)
	eventually(t, 15*time.Second, "scores after the server came back", check)

	admin := ""
	for line := range strings.Lines(s.infer.log.String()) {
		if _, after, ok := strings.Cut(line, "admin="); ok {
			admin = "http://" + strings.Fields(after)[0]
		}
	}
	waitMetric(t, admin, 1, 1000, "onehop_remote_calls_total", `model="ranker"`, `version="2"`, `endpoint="`+server.Address()+`"`, `outcome="ok"`)
	waitMetric(t, admin, 1, 1000, "onehop_remote_calls_total", `outcome="unreachable"`)
	waitMetric(t, admin, 0, 0, "onehop_remote_breaker_open", `model="ranker"`)
}
