package predictions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// questioner asks a cache, and counts what is computed.
type questioner struct {
	answers  *Answers
	computed atomic.Int64
	takes    time.Duration
	fails    error
	unkept   bool
}

func newQuestioner(k Kind) *questioner {
	return &questioner{answers: newAnswers(k, NewGate(min(k.TTL, longestWindow), time.Now, nil), time.Now)}
}

// ask is the answer to a question, and whether it is one that was kept.
func (q *questioner) ask(ctx context.Context, key string) (answer string, kept bool, err error) {
	found, err := q.answers.Get(ctx, &Question{
		Key: func(dst []byte) ([]byte, error) { return append(dst, key...), nil },
		Compute: func(ctx context.Context) ([]byte, error) {
			answer = fmt.Sprint(key, " ", q.computed.Add(1))
			if q.takes > 0 {
				select {
				case <-time.After(q.takes):
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
			if q.unkept {
				return nil, q.fails
			}
			return []byte(answer), q.fails
		},
	})
	if found.Value != nil {
		return string(found.Value), true, err
	}
	return answer, false, err
}

func (q *questioner) want(t *testing.T, key, answer string, kept bool) {
	t.Helper()
	got, gotKept, err := q.ask(t.Context(), key)
	if err != nil || got != answer || gotKept != kept {
		t.Errorf("%q, kept %v, %v; want %q, kept %v", got, gotKept, err, answer, kept)
	}
}

func TestAnswersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuestioner(Kind{TTL: 2 * time.Second})
		defer q.answers.Close()
		q.want(t, "a", "a 1", false)
		q.want(t, "b", "b 2", false)
		<-time.After(1500 * time.Millisecond)
		q.want(t, "a", "a 1", true)
		found, ok := q.answers.find([]byte("a"))
		if left := time.Until(found.until); !ok || left != 500*time.Millisecond {
			t.Errorf("%s are left", left)
		}
		<-time.After(500 * time.Millisecond)
		q.want(t, "a", "a 3", false)
		if s := q.answers.Stats(); s.Hits != 1 || s.Misses != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// TestAnswersCountFromTheirRead: not from the end of a slow model's run.
func TestAnswersCountFromTheirRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuestioner(Kind{TTL: 2 * time.Second})
		defer q.answers.Close()
		q.takes = 1500 * time.Millisecond
		q.want(t, "a", "a 1", false)
		<-time.After(400 * time.Millisecond)
		q.want(t, "a", "a 1", true)
		<-time.After(100 * time.Millisecond)
		q.want(t, "a", "a 2", false)
		q.takes = 2 * time.Second
		q.want(t, "b", "b 3", false)
		q.want(t, "b", "b 4", false)
	})
}

func TestErrorsAndUnkeptAnswersAreNotKept(t *testing.T) {
	q := newQuestioner(Kind{TTL: time.Minute})
	defer q.answers.Close()
	q.fails = errors.New("no")
	if _, _, err := q.ask(t.Context(), "a"); err == nil {
		t.Error("no error")
	}
	q.fails, q.unkept = nil, true
	q.want(t, "a", "a 2", false)
	q.unkept = false
	q.want(t, "a", "a 3", false)
	q.want(t, "a", "a 3", true)
}

// TestEqualQuestionsAreAnsweredOnce: eight callers at the same time, of whom the first goes away; another takes its place, and the rest wait for
// that one. One who has less time than the answer takes does not get it.
func TestEqualQuestionsAreAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuestioner(Kind{TTL: time.Minute})
		defer q.answers.Close()
		q.takes = time.Second
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, _, err := q.ask(ctx, "a")
			left <- err
		}()
		synctest.Wait()
		answers := make(chan string, 7)
		for range 7 {
			go func() {
				answer, kept, err := q.ask(t.Context(), "a")
				answers <- fmt.Sprint(answer, " ", kept, " ", err)
			}()
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, _, err := q.ask(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v for a caller whose deadline passes while it waits", err)
		}
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		kept := 0
		for range 7 {
			answer := <-answers
			if answer == "a 2 true <nil>" {
				kept++
			} else if answer != "a 2 false <nil>" {
				t.Error(answer)
			}
		}
		if kept != 6 || q.computed.Load() != 2 {
			t.Errorf("%d of 7 had the answer of another; %d were computed, want 6 and 2", kept, q.computed.Load())
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	q := newQuestioner(Kind{TTL: time.Minute, Bytes: 1 << 20})
	defer q.answers.Close()
	for i := range 3000 {
		if _, _, err := q.ask(t.Context(), strings.Repeat("k", 500)+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	q.answers.cache.CleanUp()
	if n := q.answers.Stats().Bytes; n > 1<<20 || n < 1<<19 {
		t.Errorf("%d bytes are kept, of at most %d", n, 1<<20)
	}
}

// TestAnEntryOfAnotherKey is not taken for one's own, though it lies where one's own would.
func TestAnEntryOfAnotherKey(t *testing.T) {
	entry := appendKeyed(nil, []byte("key"), []byte("value"))
	if value, ok := keyed(entry, []byte("key")); !ok || string(value) != "value" {
		t.Errorf("%q, %v", value, ok)
	}
	for _, other := range []string{"kez", "ke", "keyv", ""} {
		if value, ok := keyed(entry, []byte(other)); ok {
			t.Errorf("%q is taken for the value of %q", value, other)
		}
	}
}

func FuzzKeyed(f *testing.F) {
	f.Add(appendKeyed(nil, []byte("key"), []byte("value")), []byte("key"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, []byte("k"))
	f.Fuzz(func(t *testing.T, entry, key []byte) {
		if value, ok := keyed(entry, key); ok && len(value)+len(key) >= len(entry) {
			t.Errorf("%q has a value of %d bytes", entry, len(value))
		}
	})
}
