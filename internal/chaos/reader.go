package chaos

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/onehop/onehop/internal/servers"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// readUsers is how many users the reader asks for at once.
const readUsers = 50

// reader asks for counts all the time. An answer may be UNAVAILABLE; a count that goes back
// or a user that is gone is a lie.
type reader struct {
	client      onehopv1connect.FeatureServiceClient
	transport   *http.Transport
	users       []int64
	seen        []int64 // the last count of each
	answers     int
	unavailable int
}

// newReader starts serve and reads users whose rows are there.
func newReader(ctx context.Context, s *Stand) (*reader, error) {
	port, err := servers.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	at := "127.0.0.1:" + strconv.Itoa(port)
	p, err := s.spawn(ctx, "serve", "ONEHOP_LISTEN="+at)
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		return nil, err
	}
	r := &reader{transport: &http.Transport{}}
	r.client = onehopv1connect.NewFeatureServiceClient(&http.Client{Transport: r.transport}, "http://"+at)
	for range readUsers {
		r.users = append(r.users, 1+s.Random.Int64N(int64(s.Feed.dirt.Users)))
	}
	r.seen = make([]int64, readUsers)
	return r, r.read(ctx)
}

// run reads until the context ends.
func (r *reader) run(ctx context.Context) error {
	defer r.transport.CloseIdleConnections()
	for {
		if pause(ctx, 3*time.Millisecond) != nil {
			return nil
		}
		if err := r.read(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (r *reader) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := r.client.GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{countView + "." + countColumn},
		Entities: map[string]*onehopv1.Values{"user_id": {Int64: r.users}},
	})
	r.answers++
	if connect.CodeOf(err) == connect.CodeUnavailable {
		r.unavailable++
		return nil
	}
	if err != nil {
		return errorf("a read failed with %w; only UNAVAILABLE is allowed", err)
	}
	column := res.GetColumns()[0]
	for i, user := range r.users {
		status, count := column.GetStatuses()[i], column.GetValues().GetInt64()[i]
		if status != onehopv1.Status_STATUS_PRESENT || count < r.seen[i] {
			return errorf("user %d was served as %s with %d events, after %d", user, status, count, r.seen[i])
		}
		r.seen[i] = count
	}
	return nil
}
