package history

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
)

// Day is a day of event times, in UTC.
type Day struct {
	// Number counts days since 1970.
	Number int64
	// Events is how many there are.
	Events int64
}

// MicrosPerDay is the length of a day in microseconds.
const MicrosPerDay = 86_400_000_000

// AllDays is a day after all events, which Postgres can tell.
const AllDays int64 = 9_000_000_000_000_000_000 / MicrosPerDay

// Days lists the days that have events of a source, from one to before another, in order.
func (s *Snapshot) Days(ctx context.Context, source string, from, to int64) ([]Day, error) {
	columns, err := s.table(ctx, source)
	if err != nil || len(columns) == 0 {
		return nil, err
	}
	query := fmt.Sprintf(`SELECT (event_time AT TIME ZONE 'UTC')::date - date '1970-01-01' AS day, count(*) FROM %s
		WHERE %s%s GROUP BY day ORDER BY day`, s.name(source), between, s.within(source))
	rows, err := s.tx.Query(ctx, query, from*MicrosPerDay, to*MicrosPerDay)
	if err != nil {
		return nil, fmt.Errorf("listing the days of source %q: %w", source, err)
	}
	var days []Day
	var d Day
	_, err = pgx.ForEachRow(rows, []any{&d.Number, &d.Events}, func() error {
		days = append(days, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the days of source %q: %w", source, err)
	}
	return days, nil
}

// between is the condition that an event time is in [$1, $2), in microseconds since 1970.
const between = `event_time >= timestamptz 'epoch' + $1::bigint * interval '1 microsecond'
	AND event_time < timestamptz 'epoch' + $2::bigint * interval '1 microsecond'`

// Scan calls yield for every event of a source whose event time, in microseconds, is in
// [from, to), in no order. The event and its values belong to yield until it returns; topic
// is where its position is.
func (s *Snapshot) Scan(ctx context.Context, source *featurestore.Source, from, to int64, yield func(topic featurestore.TopicID, e *featurestore.Event) error) error {
	columns, err := s.table(ctx, source.Name)
	if err != nil || len(columns) == 0 {
		return err
	}
	selected := slices.Clone(originColumns)
	for i := range source.Fields {
		f := &source.Fields[i]
		column := pgx.Identifier{"f_" + f.Name}.Sanitize()
		if !columns["f_"+f.Name] { // a new field, of which ingest has seen nothing yet
			column = "NULL::" + sqlType(f.Type)
		}
		selected = append(selected, column)
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s%s", strings.Join(selected, ", "), s.name(source.Name), between, s.within(source.Name))
	rows, err := s.tx.Query(ctx, query, from, to)
	if err != nil {
		return fmt.Errorf("reading the history of source %q: %w", source.Name, err)
	}
	defer rows.Close()
	var topic featurestore.TopicID
	e := featurestore.Event{Values: make([]featurestore.Value, len(source.Fields))}
	for rows.Next() {
		if err := decodeWhole(rows.RawValues(), source, &topic, &e); err != nil {
			return fmt.Errorf("reading the history of source %q: %w", source.Name, err)
		}
		if err := yield(topic, &e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the history of source %q: %w", source.Name, err)
	}
	return nil
}

// originColumns are the columns before those of the fields.
var originColumns = []string{"event_time", "record_time", "topic_id", "kafka_partition", "kafka_offset", "event_index", "deleted"}

// decodeWhole reads a row of all columns.
func decodeWhole(row [][]byte, source *featurestore.Source, topic *featurestore.TopicID, e *featurestore.Event) (err error) {
	if len(row) != len(originColumns)+len(source.Fields) {
		return errFormat
	}
	for i, n := range [...]int{8, 8, len(topic), 4, 8, 4, 1} {
		if len(row[i]) != n {
			return errFormat
		}
	}
	e.Time, e.RecordTime = int8Of(row[0])+postgresEpoch, int8Of(row[1])+postgresEpoch
	copy(topic[:], row[2])
	e.Partition, e.Offset, e.Index, e.Delete = int4Of(row[3]), int8Of(row[4]), int4Of(row[5]), row[6][0] != 0
	for i := range source.Fields {
		if e.Values[i], err = valueOf(row[len(originColumns)+i], source.Fields[i].Type); err != nil {
			return fmt.Errorf("field %q: %w", source.Fields[i].Name, err)
		}
	}
	return nil
}
