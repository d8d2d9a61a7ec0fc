package batching_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehop/onehop/inference/batching"
)

// overloaded makes a model's cost known and keeps it busy for 10 ms.
func overloaded(t *testing.T, m *model, o batching.Options) *batching.Queue {
	t.Helper()
	q := queueOf(t, m, o)
	for range 200 {
		if err := ask(t.Context(), q, 1, batching.Request{Rows: o.MaxRows}); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _ = ask(t.Context(), q, 1, batching.Request{Rows: o.MaxRows}) }()
	synctest.Wait()
	return q
}

func TestWhatCannotBeInTimeIsRefusedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := overloaded(t, m, batching.Options{Instances: 1, MaxRows: 2})
		var all sync.WaitGroup
		for i := range 4 { // two more runs
			all.Go(func() {
				if err := ask(t.Context(), q, float32(i), batching.Request{Rows: 1, Priority: 1}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 39*time.Millisecond)
		defer cancel()
		err := ask(ctx, q, 9, batching.Request{Rows: 2})
		refused, ok := errors.AsType[*batching.RefusedError](err)
		if !ok || time.Since(start) != 0 || refused.Retry < time.Millisecond || refused.Retry > 10*time.Millisecond {
			t.Errorf("error %v (%+v) after %s, want a refusal at once: it takes 40 ms, and 7.5 in reserve", err, refused, time.Since(start))
		}
		ctx, cancel = context.WithTimeout(t.Context(), 48*time.Millisecond)
		defer cancel()
		if err := ask(ctx, q, 9, batching.Request{Rows: 2}); err != nil {
			t.Errorf("what just makes it was not answered: %v", err)
		}
		all.Wait()
		if s := q.Stats(); s.Refused != 1 || s.Shed != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestARunIsCappedToItsTightestDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRow: time.Millisecond}
		q := queueOf(t, m, batching.Options{Instances: 1})
		for i := range 200 {
			if err := ask(t.Context(), q, 1, batching.Request{Rows: 1 + i%10}); err != nil {
				t.Fatal(err)
			}
		}
		m.runs = nil
		var all sync.WaitGroup
		send := func(rows int, deadline time.Duration) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				if err := ask(ctx, q, 1, batching.Request{Rows: rows}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		send(10, time.Second)
		send(5, 21*time.Millisecond) // until 21 ms, and the model is busy until 10 ms
		send(5, 30*time.Millisecond)
		send(5, 40*time.Millisecond)
		all.Wait()
		if !slices.Equal(m.runs, []int{10, 10, 5}) {
			t.Errorf("runs of %v rows, want 10, 10 and 5", m.runs)
		}
	})
}

func TestAFullQueueKeepsTheMoreUrgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := overloaded(t, m, batching.Options{Instances: 1, MaxRows: 2, QueueRows: 2})
		low := make(chan error, 1)
		go func() { low <- ask(t.Context(), q, 1, batching.Request{Rows: 2}) }()
		synctest.Wait()
		if _, ok := errors.AsType[*batching.RefusedError](ask(t.Context(), q, 2, batching.Request{Rows: 1})); !ok {
			t.Error("a full queue took another request")
		}
		if err := ask(t.Context(), q, 3, batching.Request{Rows: 2, Priority: 1}); err != nil {
			t.Errorf("the more urgent one: %v", err)
		}
		if _, ok := errors.AsType[*batching.RefusedError](<-low); !ok {
			t.Error("the less urgent one was not shed")
		}
	})
}

// TestWhoIsAdmittedIsWaitedFor: a promise to come takes room, until it is kept or withdrawn.
func TestWhoIsAdmittedIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := &model{perRun: 10 * time.Millisecond}
		q := overloaded(t, m, batching.Options{Instances: 1, MaxRows: 2})
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		first, err := q.Admit(in(25*time.Millisecond), 2, 0)
		if err != nil || first.Takes < 10*time.Millisecond || first.Takes > 11*time.Millisecond {
			t.Errorf("admitted, %s: %v", first.Takes, err)
		}
		if _, err := q.Admit(in(25*time.Millisecond), 2, 0); err == nil {
			t.Error("two were let in where there is time for one")
		}
		first.Withdraw()
		first.Withdraw()
		second, err := q.Admit(in(25*time.Millisecond), 2, 0)
		if err != nil {
			t.Errorf("after the first went: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		if err := ask(ctx, q, 1, batching.Request{Rows: 2, Admission: &second}); err != nil {
			t.Errorf("who was let in: %v", err)
		}
		if _, err := q.Admit(in(15*time.Millisecond), 2, 0); err != nil {
			t.Errorf("when all are done: %v", err)
		}
	})
}

// TestWaitsThatGrowAreForeseen: who would be in time by what runs take, but not by how long waits have been, is refused.
func TestWaitsThatGrowAreForeseen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := overloaded(t, &model{perRun: 10 * time.Millisecond}, batching.Options{Instances: 1, MaxRows: 1})
		var all sync.WaitGroup
		send := func(priority int) {
			all.Go(func() {
				if err := ask(t.Context(), q, 1, batching.Request{Rows: 1, Priority: priority}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		in := func(d time.Duration) error {
			admission, err := q.Admit(time.Now().Add(d), 1, 0)
			admission.Withdraw()
			return err
		}
		if err := in(25 * time.Millisecond); err != nil {
			t.Errorf("a wait of 10 ms and a run of 10 ms: %v", err)
		}
		for range 100 {
			send(0)
			send(0)
			send(1) // others go before the second
			send(1)
			all.Wait()
		}
		send(0)
		if err := in(25 * time.Millisecond); err == nil {
			t.Error("somebody was let in who would be late as others were")
		}
		if err := in(60 * time.Millisecond); err != nil {
			t.Errorf("with time enough: %v", err)
		}
		all.Wait()
	})
}

// TestWhoComesTakesNoRoomOfOthers: rows that were admitted and are on their way fill no queue, and the urgent do not wait for the others.
func TestWhoComesTakesNoRoomOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := overloaded(t, &model{perRun: 10 * time.Millisecond}, batching.Options{Instances: 1, MaxRows: 2, QueueRows: 4})
		var admitted []batching.Admission
		admit := func(deadline time.Time, priority int) error {
			a, err := q.Admit(deadline, 2, priority)
			admitted = append(admitted, a)
			return err
		}
		for range 20 {
			if err := admit(time.Time{}, -1); err != nil {
				t.Fatalf("nothing waits, and there is no deadline: %v", err)
			}
		}
		soon := time.Now().Add(30 * time.Millisecond)
		if err := admit(soon, 0); err != nil {
			t.Errorf("only the less urgent are on their way: %v", err)
		}
		if err := admit(soon, -1); err == nil {
			t.Error("somebody was let in behind 20 runs who has 30 ms")
		}
		for i := range admitted {
			admitted[i].Withdraw()
		}
		if err := admit(soon, -1); err != nil {
			t.Errorf("when all were withdrawn: %v", err)
		}
	})
}
