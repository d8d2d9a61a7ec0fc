package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// draw is one call's entities: made before anything is measured, with the keys of its
// rows.
type draw struct {
	user  int64
	items []int64
	args  []any // of MGET
}

// makeDraws draws the users and candidates of the calls.
func makeDraws(n int) []draw {
	random := rand.New(rand.NewPCG(3, 4))
	draws := make([]draw, n)
	for i := range draws {
		d := &draws[i]
		d.user = int64(random.IntN(hopUsers))
		for range hopItems {
			d.items = append(d.items, int64(random.IntN(hopCatalog)))
		}
		keys := hopKeys(d.user, d.items)
		d.args = append(d.args, "MGET")
		for j := range keys {
			d.args = append(d.args, &keys[j])
		}
	}
	return draws
}

// next is the entities of the next call.
func (h *hopStack) next() *draw { return &h.draws[int(h.calls.Add(1))%len(h.draws)] }

func (h *hopStack) request() *onehopv1.GetFeaturesAndPredictRequest {
	d := h.next()
	return &onehopv1.GetFeaturesAndPredictRequest{
		Model:      "ranker",
		Entities:   map[string]*onehopv1.Values{"user_id": {Int64: []int64{d.user}}},
		Candidates: map[string]*onehopv1.Values{"item_id": {Int64: d.items}},
		Request:    map[string]*onehopv1.Values{"hour": {Double: []float64{12}}},
		NoCache:    true,
	}
}

// near calls with the near cache, where nine calls of ten find all rows once it is warm; the tenth reads all from Redis.
func (h *hopStack) near(ctx context.Context) error {
	req := h.request()
	req.NoCache = h.calls.Load()%10 == 0
	_, err := h.client.GetFeaturesAndPredict(ctx, req)
	return err
}

func (h *hopStack) call(ctx context.Context) error {
	res, err := h.client.GetFeaturesAndPredict(ctx, h.request())
	if t := res.GetTimings(); err == nil && h.stages != nil {
		h.stages.read = append(h.stages.read, time.Duration(t.GetReadUs())*time.Microsecond)
		h.stages.assemble = append(h.stages.assemble, time.Duration(t.GetAssembleUs())*time.Microsecond)
		h.stages.run = append(h.stages.run, time.Duration(t.GetRunUs())*time.Microsecond)
	}
	if err == nil && len(res.GetScores()) != hopItems {
		err = fmt.Errorf("%d scores", len(res.GetScores()))
	}
	return err
}

// remembered is how many rows of candidates the service had decoded before, and how many not.
func (h *hopStack) remembered(ctx context.Context) (hits, misses float64, err error) {
	const name = "onehop_model_remembered_rows_total"
	found, err := scrape(ctx, h.admin, name)
	for _, of := range found[name] {
		if of.labels["outcome"] == "hit" {
			hits += of.value
		} else {
			misses += of.value
		}
	}
	return hits, misses, err
}

// stages are the service's own timings of its calls, while one caller calls.
type stages struct{ read, assemble, run []time.Duration }

func (h *hopStack) echo(ctx context.Context) error {
	_, err := h.floor.GetFeaturesAndPredict(ctx, h.request())
	return err
}

// callBare calls a service that reads as many rows and runs the same batch, and looks at neither.
func (h *hopStack) callBare(ctx context.Context) error {
	_, err := h.bare.GetFeaturesAndPredict(ctx, h.request())
	return err
}

// parts are the parts of the floor, one after the other.
func (h *hopStack) parts(ctx context.Context) error {
	if err := h.mget(ctx); err != nil {
		return err
	}
	return h.runModel(ctx)
}

// hopKeys are the keys that a call reads.
func hopKeys(user int64, items []int64) []string {
	var keys []string
	row := func(view string, id int64) {
		key := strconv.FormatInt(id, 10)
		keys = append(keys, fmt.Sprintf("{bench:%s@1/%d}:%s", view, featurestore.Bucket([]byte(key)), key))
	}
	row("user_stats", user)
	row("user_profile", user)
	for _, view := range []string{"item_stats", "item_profile"} {
		for _, id := range items {
			row(view, id)
		}
	}
	return keys
}

// mget reads the rows of a call in the quickest way that the client has: the reply is
// written to a buffer that is used again, and not looked at.
func (h *hopStack) mget(ctx context.Context) error {
	buffer := h.buffers.Get().(*bytes.Buffer)
	defer h.buffers.Put(buffer)
	buffer.Reset()
	return h.redis.Process(ctx, redis.NewRawWriteToCmd(ctx, buffer, h.next().args...))
}

func (h *hopStack) runModel(ctx context.Context) error {
	b := <-h.batches
	defer func() { h.batches <- b }()
	return b.Run(ctx, hopItems)
}
