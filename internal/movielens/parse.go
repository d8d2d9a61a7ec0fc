package movielens

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Parse reads the three tab-separated files of the sample. Their first lines name columns as "name:type". Errors name the file's
// kind, the line and the column.
func Parse(ratings, movies, users io.Reader) (*Dataset, error) {
	data := &Dataset{}
	err := eachRow(ratings, "rating", []string{"user_id", "item_id", "rating", "timestamp"}, func(row *row) {
		data.Ratings = append(data.Ratings, Rating{
			UserID: row.integer(0), MovieID: row.integer(1), Rating: row.float(2), Time: int64(row.float(3)) * 1e6,
		})
	})
	if err != nil {
		return nil, err
	}
	err = eachRow(movies, "movie", []string{"item_id", "movie_title", "release_year", "class"}, func(row *row) {
		data.Movies = append(data.Movies, Movie{
			ID: row.integer(0), Title: row.fields[1], Year: year(row.fields[2], row.fields[1]), Genres: strings.Fields(row.fields[3]),
		})
	})
	if err != nil {
		return nil, err
	}
	err = eachRow(users, "user", []string{"user_id", "age", "gender", "occupation", "zip_code"}, func(row *row) {
		data.Users = append(data.Users, User{
			ID: row.integer(0), Age: int(row.integer(1)), Gender: row.fields[2], Occupation: row.fields[3], Zip: row.fields[4],
		})
	})
	if err != nil {
		return nil, err
	}
	data.sort()
	return data, nil
}

var yearInTitle = regexp.MustCompile(`\((\d{4})\)$`)

// year falls back to the title, where the file has it for titles with commas, and to 0.
func year(field, title string) int {
	if number, err := strconv.Atoi(field); err == nil {
		return number
	}
	if match := yearInTitle.FindStringSubmatch(title); match != nil {
		number, _ := strconv.Atoi(match[1]) // four digits
		return number
	}
	return 0
}

// row is one line's fields in the order asked for; the first failure sticks.
type row struct {
	fields  []string
	columns []string
	err     error
}

func (r *row) integer(i int) int64 {
	value, err := strconv.ParseInt(r.fields[i], 10, 64)
	r.fail(i, err)
	return value
}

func (r *row) float(i int) float64 {
	value, err := strconv.ParseFloat(r.fields[i], 64)
	r.fail(i, err)
	return value
}

func (r *row) fail(i int, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s is %q, want a number", r.columns[i], r.fields[i])
	}
}

func eachRow(from io.Reader, kind string, columns []string, use func(*row)) error {
	lines := bufio.NewScanner(from)
	var order []int
	for line := 1; lines.Scan(); line++ {
		fields := strings.Split(strings.TrimSuffix(lines.Text(), "\r"), "\t")
		if line == 1 {
			var err error
			if order, err = columnOrder(fields, columns); err != nil {
				return fmt.Errorf("%s file, line 1: %w", kind, err)
			}
			continue
		}
		r := &row{columns: columns, fields: make([]string, len(columns))}
		for i, at := range order {
			if at >= len(fields) {
				return fmt.Errorf("%s file, line %d: it has %d columns and %s is missing", kind, line, len(fields), columns[i])
			}
			r.fields[i] = fields[at]
		}
		if use(r); r.err != nil {
			return fmt.Errorf("%s file, line %d: %w", kind, line, r.err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s file: %w", kind, err)
	}
	if order == nil {
		return fmt.Errorf("%s file: it is empty", kind)
	}
	return nil
}

// columnOrder finds where each wanted column is in a header of "name:type" fields.
func columnOrder(header, columns []string) ([]int, error) {
	positions := map[string]int{}
	for i, field := range header {
		name, _, _ := strings.Cut(field, ":")
		positions[name] = i
	}
	order := make([]int, len(columns))
	for i, name := range columns {
		at, ok := positions[name]
		if !ok {
			return nil, fmt.Errorf("the header has no column %q", name)
		}
		order[i] = at
	}
	return order, nil
}
