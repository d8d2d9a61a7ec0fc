package definition

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFileBytes is the largest definition file.
	maxFileBytes = 1 << 20
	// maxTokens bounds the time of the YAML parser, which is quadratic in the keys of
	// one mapping. It is some 4,000 features.
	maxTokens = 60_000
	// maxDepth bounds its stack: definitions are eight levels deep.
	maxDepth = 64
	// maxEntryColumn does the same for lists in lists on one line.
	maxEntryColumn = 256
)

// parseYAML is the syntax tree of a file's documents, nil when there is a mistake.
func parseYAML(file File, r *report) (tree *ast.File) {
	start := place{file: file.Name, line: 1, column: 1}
	defer func() {
		if p := recover(); p != nil { // a bug of the YAML parser is no reason to stop
			r.addf(start, "the file is not valid YAML: %v", p)
			tree = nil
		}
	}()
	if len(file.Text) > maxFileBytes {
		r.addf(start, "the file has %d bytes; at most %d are allowed: split it", len(file.Text), maxFileBytes)
		return nil
	}
	tokens := lexer.Tokenize(string(file.Text))
	if len(tokens) > maxTokens {
		r.addf(start, "the file has %d YAML tokens; at most %d are allowed: split it", len(tokens), maxTokens)
		return nil
	}
	if t := tooDeep(tokens); t != nil {
		r.addf(placeOf(file.Name, t), "this is nested too deeply; at most %d levels are allowed", maxDepth)
		return nil
	}
	if t := secondDocument(tokens); t != nil {
		r.addf(placeOf(file.Name, t), "a file is one YAML document: write what follows to a file of its own")
		return nil
	}
	// Duplicate keys are found by the decoder, which reports all of them.
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		syntaxMistake(start, err, r)
		return nil
	}
	return tree
}

// CheckYAML says what keeps a YAML text of another kind than definitions from being parsed
// safely: nesting too deep, more than one document, or aliases, by which a small text can
// become a large one. The text's size is the caller's to bound.
func CheckYAML(name string, text []byte) error {
	tokens := lexer.Tokenize(string(text))
	say := func(t *token.Token, what string) error {
		return fmt.Errorf("%s:%d:%d: %s", name, t.Position.Line, t.Position.Column, what)
	}
	if t := tooDeep(tokens); t != nil {
		return say(t, fmt.Sprintf("this is nested too deeply; at most %d levels are allowed", maxDepth))
	}
	if t := secondDocument(tokens); t != nil {
		return say(t, "a file is one YAML document: write what follows to a file of its own")
	}
	for _, t := range tokens {
		if t.Type == token.AliasType {
			return say(t, "aliases are not taken: write the value again")
		}
	}
	return nil
}

func tooDeep(tokens token.Tokens) *token.Token {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Column > maxEntryColumn {
				return t
			}
		}
		if depth > maxDepth {
			return t
		}
	}
	return nil
}

// secondDocument is the first token of a second document, nil if there is none. The
// parser loses documents that follow an empty one, so several are refused.
func secondDocument(tokens token.Tokens) *token.Token {
	started, ended := false, false
	for _, t := range tokens {
		switch {
		case t.Type == token.CommentType:
		case ended, started && t.Type == token.DocumentHeaderType:
			return t
		default:
			started = true
			ended = t.Type == token.DocumentEndType
		}
	}
	return nil
}

func syntaxMistake(at place, err error, r *report) {
	message := err.Error()
	var positioned interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &positioned) {
		message = positioned.GetMessage()
		if t := positioned.GetToken(); t != nil {
			at = placeOf(at.file, t)
		}
	}
	r.addf(at, "the file is not valid YAML: %s", message)
}

func placeOf(file string, t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{file: file, line: 1, column: 1}
	}
	return place{file: file, line: t.Position.Line, column: t.Position.Column}
}

// nodePlace is where a node starts.
func nodePlace(file string, n ast.Node) place {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle { // its own token is its first colon
			return nodePlace(file, n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePlace(file, n.Key)
	case *ast.MappingKeyNode:
		return placeOf(file, n.Start)
	}
	return placeOf(file, n.GetToken())
}

// kindOf names a node's kind in a message.
func kindOf(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "nothing"
	case ast.BoolType:
		return "the boolean " + n.GetToken().Value
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "the number " + n.GetToken().Value
	case ast.StringType, ast.LiteralType:
		return "text"
	default:
		return n.Type().YAMLName()
	}
}
