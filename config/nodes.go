package config

import (
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// lineOf is where a node begins, 0 if it does not say.
func lineOf(node ast.Node) int {
	if tk := node.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 0
}

func isNull(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, null := node.(*ast.NullNode)
	return null
}

func textOf(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case ast.MapNode:
		return splitText(n)
	default:
		return "", false
	}
}

// splitText puts together what go-yaml takes for a mapping and YAML for a text: env:NAME, without a blank after its
// colon, in a list within braces, such as {secrets: [env:NAME]}.
func splitText(mapping ast.MapNode) (string, bool) {
	entries := mapping.MapRange()
	if !entries.Next() {
		return "", false
	}
	entry := entries.KeyValue()
	if entries.Next() {
		return "", false
	}
	name, colon, rest := entry.Key.GetToken(), entry.GetToken(), entry.Value.GetToken()
	if name.Type != token.StringType || rest.Type != token.StringType && rest.Type != token.IntegerType {
		return "", false
	}
	if colon.Position.Offset != name.Position.Offset+utf8.RuneCountInString(name.Value) || rest.Position.Offset != colon.Position.Offset+1 {
		return "", false
	}
	return name.Value + ":" + rest.Value, true
}

// wholeOf reads a decimal number; 0x10, 1_000 and 007 mean different things to different readers and are refused.
func wholeOf(node ast.Node) (int, bool) {
	number, ok := node.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(number.Token.Value)
	return n, err == nil && strconv.Itoa(n) == number.Token.Value
}

// describe names the kind of a node, never its value.
func describe(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode:
		if _, ok := wholeOf(node); ok {
			return "a bare number"
		}
		return "a number that is not plainly decimal"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number with a fraction"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, an alias or a tag, which are not read here"
	default:
		return "something else"
	}
}

func quotesHint(node ast.Node) string {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		return " (put it in quotes)"
	default:
		return ""
	}
}
