package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/registry"
)

// served verifies the serving log.
func (c *verifyCommand) served(ctx context.Context, s Streams) error {
	pool, err := c.postgresFlags.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	versions, err := registry.New(pool, c.Namespace).Versions(ctx)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return fmt.Errorf("no definitions are applied to namespace %q: run onehop apply, or set --namespace (ONEHOP_NAMESPACE)", c.Namespace)
	}
	done := 0
	report, finish := progress(s.Err, "verifying what was served", c.Sample)
	v := maintain.ServedVerifier{Pool: pool, Catalogs: versions, Wait: c.Wait, Progress: func(vectors int) {
		done += vectors
		report(done)
	}}
	from, to := logTimes(c.Since, c.Until)
	skew, err := v.Verify(ctx, from, to, c.Sample)
	finish()
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(s.Out, skew)
	} else {
		writeSkew(s.Out, skew)
	}
	if err == nil && skew.Vectors == 0 {
		err = errors.New("the serving log has no vectors of that time: say \"log: {sample: 0.1}\" of a feature service or a model, and let some be served")
	}
	if err == nil && skew.Different > 0 {
		err = exitError(exitFailed)
	}
	return err
}

// logTimes are the bounds of read times, in microseconds.
func logTimes(since, until time.Time) (from, to int64) {
	to = history.AllDays * history.MicrosPerDay
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	if !until.IsZero() {
		to = until.UnixMicro()
	}
	return from, to
}

// writeSkew prints the result for a person.
func writeSkew(w io.Writer, skew *maintain.Skew) {
	t := newTable(w)
	t.row("vectors", "values", "different", "skew", "not compared")
	unchecked := 0
	for _, n := range skew.Unchecked {
		unchecked += n
	}
	t.row(strconv.Itoa(skew.Vectors), strconv.Itoa(skew.Points), strconv.Itoa(skew.Different), fmt.Sprintf("%.3g %%", 100*skew.Share), strconv.Itoa(unchecked))
	t.flush()
	if len(skew.Differences) > 0 {
		fmt.Fprintln(w)
		t := newTable(w)
		t.row("served by", "request", "row", "read at", "key", "feature", "served", "history", "why")
		for _, d := range skew.Differences {
			t.row(d.Kind+" "+d.Name, d.RequestID, strconv.FormatInt(d.Row, 10), featurestore.FormatTime(d.ReadTime), d.Key, d.Feature, d.Served, d.History, string(d.Reason))
		}
		t.flush()
	}
	for _, why := range slices.Sorted(maps.Keys(skew.Unchecked)) {
		fmt.Fprintf(w, "\n%d values were not compared: %s.\n", skew.Unchecked[why], why)
	}
}
