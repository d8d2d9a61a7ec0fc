package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/internal/cli"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/onehoptest"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// strict refuses events without a rating, and those older than two seconds.
const strict = `
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    max_age: 2s
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: rating, type: int64, required: true}
views:
  - name: user_ratings
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [lifetime]}
`

var lenient = strings.ReplaceAll(strict, "{name: rating, type: int64, required: true}", "{name: rating, type: int64}")

// deadLetterDesk is a running Onehop with dead letters, and the tool beside it.
type deadLetterDesk struct {
	*onehoptest.Onehop
	flags    []string
	postgres string
}

func newDesk(t *testing.T) *deadLetterDesk {
	t.Helper()
	d := &deadLetterDesk{postgres: testenv.Postgres(t)}
	d.Onehop = onehoptest.Start(t, onehoptest.Options{
		Kafka: testenv.Kafka(t), Redis: testenv.Redis(t), Postgres: d.postgres, Namespace: testenv.Namespace(t),
	})
	d.flags = []string{"--namespace", d.Namespace, "--postgres", d.postgres, "--kafka", strings.Join(testenv.Kafka(t), ",")}
	d.ApplyText(t, strict)
	return d
}

// dlq runs onehop dlq.
func (d *deadLetterDesk) dlq(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	return run(t, append(append([]string{"dlq"}, args...), d.flags...)...)
}

// expectDLQ fails the test when the tool exits with another status, or does not say so.
func (d *deadLetterDesk) expectDLQ(t *testing.T, status int, want string, args ...string) string {
	t.Helper()
	code, out, complaints := d.dlq(t, args...)
	if code != status || !strings.Contains(out+complaints, want) {
		t.Fatalf("onehop dlq %s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, status, want, out, complaints)
	}
	return out
}

type listedLetter struct {
	Place, ID, Reason string
	Retried           *struct{ As string }
}

func (d *deadLetterDesk) list(t *testing.T, args ...string) (list []listedLetter) {
	t.Helper()
	out := d.expectDLQ(t, 0, "", append([]string{"list", "ratings", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (d *deadLetterDesk) waitLetters(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the dead letters", func() error {
		if got := len(d.list(t)); got != n {
			return fmt.Errorf("%d letters, not %d", got, n)
		}
		return nil
	})
}

// expectEvents waits until what was put back is visible, and checks that user 1 has so many
// events, in Redis and in history.
func (d *deadLetterDesk) expectEvents(t *testing.T, want int64) {
	t.Helper()
	for _, l := range d.list(t, "--all", "--limit", "0") {
		if l.Retried != nil {
			p := onehoptest.Position{Source: "ratings"}
			if _, err := fmt.Sscanf(l.Retried.As, "%d/%d", &p.Partition, &p.Offset); err != nil {
				t.Fatal(err)
			}
			d.WaitVisible(t, p)
		}
	}
	res, err := d.Features().GetOnlineFeatures(t.Context(), &onehopv1.GetOnlineFeaturesRequest{
		Features: []string{"user_ratings.count_lifetime"}, Entities: map[string]*onehopv1.Values{"user_id": {Int64: []int64{1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.GetColumns()[0].GetValues().GetInt64()[0]; got != want {
		t.Errorf("%d events are folded, not %d", got, want)
	}
	conn, err := pgx.Connect(t.Context(), d.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	eventually(t, "history", func() error {
		var rows int64
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+pgx.Identifier{"onehop_" + d.Namespace, "ratings"}.Sanitize()).Scan(&rows)
		if err == nil && rows > want {
			t.Fatalf("history has %d events, not %d", rows, want)
		}
		if err == nil && rows < want {
			err = fmt.Errorf("%d rows, not %d", rows, want)
		}
		return err
	})
}

func event(fields string) string {
	return fmt.Sprintf(`{%s,"event_time":%d}`, fields, time.Now().UnixMicro())
}

// TestDeadLettersAreFoldedOnceWhenTheDefinitionIsMended is the way of an operator: look,
// mend, put back. Others try the same at the same time.
func TestDeadLettersAreFoldedOnceWhenTheDefinitionIsMended(t *testing.T) {
	d := newDesk(t)
	d.WaitVisible(t, d.Produce(t, "ratings", event(`"user_id":1,"rating":4`))...)
	d.Produce(t, "ratings", event(`"user_id":1`), event(`"user_id":1`), event(`"user_id":1`), event(`"user_id":"x","rating":1`), "nonsense")
	d.waitLetters(t, 5)

	out := d.expectDLQ(t, 0, `required field "rating" is missing or null`, "list", "ratings", "--by-reason")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[1], "3 ") {
		t.Errorf("by reason:\n%s", out)
	}
	missing := d.list(t, "--reason", `"rating" is missing`)
	if len(missing) != 3 || len(d.list(t, "--since", "1ns")) != 0 || len(d.list(t, "--limit", "2")) != 2 {
		t.Fatalf("%+v", missing)
	}
	d.expectDLQ(t, 0, "5 letters; --limit 0 shows all", "list", "ratings", "--limit", "1")
	place := missing[0].Place
	d.expectDLQ(t, 0, `would refuse it: required field "rating" is missing`, "show", "ratings", place)
	d.expectDLQ(t, 1, "Put back 0 letters", "retry", "ratings", "--all")
	d.waitLetters(t, 5)

	d.ApplyText(t, lenient)
	out = d.expectDLQ(t, 0, "version 2 of the definitions would accept it", "show", "ratings", place)
	if !strings.Contains(out, `{"user_id":1,"event_time":`) {
		t.Errorf("the page lacks the value:\n%s", out)
	}
	d.expectDLQ(t, 1, "Would put back 3 letters", "retry", "ratings", "--all", "--dry-run")
	if left := len(d.list(t)); left != 5 {
		t.Fatalf("a dry run left %d letters", left)
	}
	var people sync.WaitGroup
	for range 2 {
		people.Go(func() {
			var nowhere buffer
			cli.Run(t.Context(), append([]string{"dlq", "retry", "ratings", "--all", "--yes"}, d.flags...), cli.Streams{In: strings.NewReader(""), Out: &nowhere, Err: &nowhere})
		})
	}
	people.Wait()
	d.expectDLQ(t, 1, "stays, it would be refused again", "retry", "ratings", "--all", "--yes")
	d.expectEvents(t, 4)
	d.expectDLQ(t, 0, "was put back before", "retry", "ratings", place, "--yes")
	d.expectDLQ(t, 0, "Put back 0 letters", "retry", "ratings", "--reason", "missing", "--yes")
	d.expectEvents(t, 4)
	d.waitLetters(t, 2)
	if all := d.expectDLQ(t, 0, "", "list", "ratings", "--all"); strings.Count(all, "put back ") != 3 {
		t.Errorf("of the letters, %d are shown as put back:\n%s", strings.Count(all, "put back "), all)
	}
}

// TestForcedLettersComeBack puts back what is refused again: it is another letter then.
func TestForcedLettersComeBack(t *testing.T) {
	d := newDesk(t)
	d.Produce(t, "ratings", "nonsense")
	d.waitLetters(t, 1)
	before := d.list(t)[0]
	d.expectDLQ(t, 0, "Put back 1 letter of source ratings, 1 of them though", "retry", "ratings", before.Place, "--force", "--yes")
	eventually(t, "the letter of the record that was put back", func() error {
		if after := d.list(t); len(after) != 1 || after[0].ID == before.ID {
			return fmt.Errorf("%+v", after)
		}
		return nil
	})
	d.expectDLQ(t, 0, "onehop-retry-of: "+before.ID, "show", "ratings", d.list(t)[0].Place)
}

func TestDeadLetterThatIsNotThere(t *testing.T) {
	d := newDesk(t)
	d.Produce(t, "ratings", event(`"user_id":1,"rating":4`))
	d.waitLetters(t, 0)
	d.expectDLQ(t, 0, "No dead letters of source ratings.", "list", "ratings")
	d.expectDLQ(t, 1, `no dead letter at "0/7"`, "show", "ratings", "0/7")
	d.expectDLQ(t, 1, `no dead letter at "0/7"`, "retry", "ratings", "0/7")
	d.expectDLQ(t, 1, `no source "rating"; it has ratings`, "list", "rating")
}
