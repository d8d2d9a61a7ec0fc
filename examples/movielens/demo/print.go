package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// printData says what the events are; it is the first thing that the demo prints.
func (r *report) printData(out io.Writer) {
	what := fmt.Sprintf("%s ratings of %s movies by %s users", thousands(r.Data.Ratings), thousands(r.Data.Movies), thousands(r.Data.Users))
	if r.Data.Generated {
		_, _ = fmt.Fprintf(out, "Onehop on GENERATED ratings, not real ones (%s): %s; the model was trained on MovieLens and knows nothing of them\n", r.Data.Why, what)
		return
	}
	_, _ = fmt.Fprintf(out, "Onehop on %s: %s, moved in time so that the newest is from now\n", r.Data.Name, what)
}

// printText lays the report out for a person.
func (r *report) printText(out io.Writer) error {
	var b bytes.Buffer
	for _, server := range r.Servers {
		fmt.Fprintf(&b, "  %s\n", server)
	}
	r.textIngest(&b)
	fmt.Fprintf(&b, "\nRecommendations for the %d users who rated last (windows look back from now: of users who rated long ago they are empty);\n", len(r.Users))
	fmt.Fprintf(&b, "candidates are movies they have not rated: half the most rated of the last %d days, half drawn at random\n", popularDays)
	for i := range r.Users {
		r.Users[i].text(&b)
	}
	r.Why.text(&b)
	r.textMeasurements(&b)
	if r.Addresses != nil {
		r.textAddresses(&b)
	}
	_, err := out.Write(b.Bytes())
	return err
}

func (r *report) textIngest(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nFrom Kafka, every one of %s ratings exactly once (from the first sent to all visible)\n", thousands(r.Ingest.Ratings))
	w := newTable(b)
	w.rowf("  online features, Redis\t%.2f s\t%s events/s\n", r.Ingest.Online.Seconds, thousands(int(r.Ingest.Online.EventsPerSecond)))
	w.rowf("  history, Postgres\t%.2f s\t%s events/s\n", r.Ingest.History.Seconds, thousands(int(r.Ingest.History.EventsPerSecond)))
	w.end()
}

func (u *userReport) text(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n  User %d, %d, %s: %d ratings, the last %s ago; the best of %d candidates\n",
		u.User, u.Age, u.Occupation, u.Ratings, ago(u.LastRatedSeconds), u.Candidates)
	w := newTable(b)
	for i, m := range u.Movies {
		w.rowf("  %4d\t%.3f\t%s\t%s\n", i+1, m.Score, m.Title, strings.Join(m.Genres, ", "))
	}
	w.end()
}

func (y *whyReport) text(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nWhat the model saw of user %d and %s (score %.3f)\n", y.User, y.Title, y.Score)
	w := newTable(b)
	for _, f := range y.Features {
		value, age := "-", ""
		if f.Status == "PRESENT" || f.Status == "DEFAULTED" {
			value = strconv.FormatFloat(f.Value, 'f', 2, 64)
		}
		if f.AgeSeconds > 0 {
			age = "newest event " + ago(f.AgeSeconds) + " ago"
		}
		w.rowf("  %s\t%s\t%s\t%s\n", f.Name, value, strings.ToLower(f.Status), age)
	}
	w.end()
	fmt.Fprintf(b, "  freshness_us of the answer, the age of the newest event behind it, is %s\n", ago(y.NewestSeconds))
}

func (r *report) textMeasurements(b *bytes.Buffer) {
	l, f := r.Latency, r.Freshness
	fmt.Fprintf(b, "\nLatency of GetFeaturesAndPredict over HTTP, %s calls of %d candidates, one after the other\n", thousands(l.Calls), l.Candidates)
	fmt.Fprintf(b, "  p50 %.2f ms, p99 %.2f ms, worst %.2f ms; of the p50 Redis takes %.2f ms and the model %.2f ms\n", l.P50, l.P99, l.Worst, l.RedisP50, l.ModelP50)
	fmt.Fprintf(b, "\nFreshness, from pushing a rating to its effect in the served features, %d times\n", f.Probes)
	fmt.Fprintf(b, "  median %.1f ms, worst %.1f ms\n", f.P50, f.Worst)
	fmt.Fprintf(b, "  those ratings, five stars by user %d for the lowest ranked movies, changed %d of %d scores (by %+.3f on average)\n",
		f.User, f.Changed.Changed, f.Changed.Of, f.Changed.MeanShift)
	fmt.Fprintf(b, "  and brought %d other movies into the top ten; %s went from %.3f to %.3f\n",
		f.Changed.NewInTop, f.Changed.Title, f.Changed.From, f.Changed.To)
}

func (r *report) textAddresses(b *bytes.Buffer) {
	a := r.Addresses
	fmt.Fprint(b, "\nRunning\n")
	w := newTable(b)
	w.rowf("  serve\t%s\tadmin %s\n", a.Serve, a.Admin["serve"])
	w.rowf("  infer\t%s\tadmin %s\n", a.Infer, a.Admin["infer"])
	w.rowf("  ingest\t\tadmin %s\n", a.Admin["ingest"])
	w.rowf("  Kafka\t%s\n", strings.Join(a.Kafka, ","))
	w.rowf("  Redis\t%s\n", a.Redis)
	w.rowf("  Postgres\t%s\n", a.Postgres)
	w.end()
	fmt.Fprintf(b, "\nTry\n  %s\n", r.Curl)
	fmt.Fprintf(b, "\nFor onehop inspect, models and others in another terminal\n  export ONEHOP_NAMESPACE=%s ONEHOP_KAFKA=%s ONEHOP_INFER=%s ONEHOP_REDIS='%s' ONEHOP_POSTGRES='%s'\n",
		a.Namespace, strings.Join(a.Kafka, ","), a.Infer, a.Redis, a.Postgres)
}

// table aligns what tabs separate. Writing to a buffer doesn't fail.
type table struct{ w *tabwriter.Writer }

func newTable(b *bytes.Buffer) table { return table{tabwriter.NewWriter(b, 0, 8, 3, ' ', 0)} }

func (t table) rowf(format string, args ...any) { _, _ = fmt.Fprintf(t.w, format, args...) }

func (t table) end() { _ = t.w.Flush() }

// ago is a time span as a person says it.
func ago(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
}

// thousands groups the digits of a number.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
