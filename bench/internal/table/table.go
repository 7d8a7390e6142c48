// Package table prints Markdown tables, and picks their rows and columns.
package table

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Head prints the first two lines.
func Head(w io.Writer, cells ...string) {
	Line(w, cells...)
	Line(w, append([]string{"---"}, slices.Repeat([]string{"---:"}, len(cells)-1)...)...)
}

// Line prints a line.
func Line(w io.Writer, cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

// Notes prints what is to be said below the table.
func Notes(w io.Writer, notes []string) {
	fmt.Fprintln(w)
	for _, n := range notes {
		fmt.Fprintf(w, "- %s\n", strings.ReplaceAll(n, "\n", "\n  "))
	}
}

// Matching returns what has a name that matches; it must be something.
func Matching[T any](all []T, name func(T) string, expression string) ([]T, error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	var names []string
	var some []T
	for _, t := range all {
		names = append(names, name(t))
		if match.MatchString(name(t)) {
			some = append(some, t)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("%q matches none of\n\t%s", expression, strings.Join(names, "\n\t"))
	}
	return some, nil
}
