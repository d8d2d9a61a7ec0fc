package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/onehop/onehop/featurestore/stream"
)

// dlqShowCommand shows one dead letter.
type dlqShowCommand struct {
	dlqFlags `embed:""`
	Place    string `arg:"" help:"Place of the letter, partition/offset, or its id, as onehop dlq list has them."`
	Bytes    int    `default:"4096" help:"Show so many bytes of the value at the most."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (*dlqShowCommand) Help() string {
	return "The record as it was, why it was refused, and whether the definitions in force now would accept it. What is not " +
		"text is shown in hex.\n\n" +
		"Example:\n\n    onehop dlq show ratings 0/4711"
}

// Check returns everything that is wrong with the flags.
func (c *dlqShowCommand) Check() error {
	err := c.dlqFlags.Check()
	if c.Bytes < 0 {
		err = errors.Join(err, errors.New("--bytes must not be negative"))
	}
	return err
}

// letterPage is a letter with its record. What is not text is in hex.
type letterPage struct {
	letterLine
	Topic   string       `json:"topic"`
	Key     *string      `json:"key"`
	Headers []headerLine `json:"headers"`
	// Value is its beginning; null for a record without one.
	Value *string `json:"value"`
	// Accepted says whether version Definitions would accept it, and Refusal why not.
	Definitions int    `json:"definitions_version"`
	Accepted    bool   `json:"accepted_now"`
	Refusal     string `json:"refusal,omitempty"`
}

type headerLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Run shows it.
func (c *dlqShowCommand) Run(ctx context.Context, s Streams) error {
	box, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer box.Close()
	report, finish := quietProgress(s.Err, "records read")
	list, err := box.List(ctx, report)
	finish()
	if err != nil {
		return err
	}
	letter, err := find(list, c.Place)
	if err != nil {
		return err
	}
	var page *letterPage
	if err := box.Each(ctx, []stream.Letter{*letter}, func(whole *stream.Letter) error {
		page = c.page(whole, newPlaces(list))
		page.Definitions = box.version
		if err := box.judge(ctx, whole); err != nil {
			page.Refusal = err.Error()
		}
		page.Accepted = page.Refusal == ""
		return nil
	}); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(s.Out, page)
	}
	page.write(s.Out)
	return nil
}

func (c *dlqShowCommand) page(l *stream.Letter, place places) *letterPage {
	p := &letterPage{letterLine: newLetterLine(l, place), Topic: l.Topic, Headers: []headerLine{}}
	p.Key, p.Value = textOrHex(l.Record.Key, c.Bytes), textOrHex(l.Record.Value, c.Bytes)
	for _, h := range l.Record.Headers {
		line := headerLine{Name: h.Key}
		if text := textOrHex(h.Value, c.Bytes); text != nil {
			line.Value = *text
		}
		p.Headers = append(p.Headers, line)
	}
	return p
}

// textOrHex is bytes as people read them, at most so many of them; nil for nil.
func textOrHex(b []byte, most int) *string {
	if b == nil {
		return nil
	}
	text, more := string(b), ""
	if len(b) > most {
		text, more = string(b[:most]), fmt.Sprintf("… (%d of %d bytes)", most, len(b))
		for len(text) > 0 && !utf8.ValidString(text) && len(text) > most-utf8.UTFMax && utf8.Valid(b) {
			text = text[:len(text)-1] // not in the middle of a character
		}
	}
	if !isText(text) {
		text = hex.Dump([]byte(text))
	}
	text += more
	return &text
}

func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}

func (p *letterPage) write(w io.Writer) {
	table := newTable(w)
	table.row("letter", printable(p.ID))
	table.row("was at", printable(p.Topic)+" "+p.Place)
	table.row("record time", p.Time)
	table.row("reason", printable(p.Reason))
	if p.Cut != "" {
		table.row("cut", p.Cut)
	}
	if p.Retried != nil {
		table.row("put back", p.Retried.At+" as "+p.Retried.As)
	}
	now := "version " + strconv.Itoa(p.Definitions) + " of the definitions would accept it"
	if !p.Accepted {
		now = "version " + strconv.Itoa(p.Definitions) + " of the definitions would refuse it: " + printable(p.Refusal)
	}
	table.row("now", now)
	key := "none"
	if p.Key != nil {
		key = *p.Key
	}
	table.row("key", key)
	for _, h := range p.Headers {
		table.row("header", printable(h.Name)+": "+h.Value)
	}
	table.row("bytes", strconv.Itoa(p.Bytes))
	table.flush()
	if p.Value == nil {
		fmt.Fprintln(w, "\nno value: the record is a tombstone")
		return
	}
	fmt.Fprintf(w, "\n%s\n", strings.TrimRight(*p.Value, "\n"))
}
