// Package vet finds at build time the mistakes that package parallel can report only at run time. It never guesses: what
// depends on a value, on a type parameter or on the dynamic type of an interface is left to the run.
package vet

import (
	"go/ast"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

// Analyzer reports calls that a run of package parallel would refuse, and errors and tasks that are thrown away. It
// offers a fix only for an untyped constant that the parameter's type can hold.
var Analyzer = &analysis.Analyzer{
	Name: "parallelvet",
	Doc: `check the use of package github.com/gojoblib/parallel

Delayed and Each take a function and its arguments as any, so the compiler does not
compare them. This analyzer does, and reports errors of runs that are dropped, tasks
that are thrown away, and functions that worker processes cannot find by name.`,
	URL:      "https://pkg.go.dev/github.com/gojoblib/parallel/vet",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      run,
}

func run(pass *analysis.Pass) (any, error) {
	c := checker{pass}
	nodes := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).PreorderSeq(
		(*ast.CallExpr)(nil), (*ast.ExprStmt)(nil), (*ast.GoStmt)(nil), (*ast.DeferStmt)(nil),
		(*ast.AssignStmt)(nil), (*ast.ValueSpec)(nil), (*ast.RangeStmt)(nil))
	for n := range nodes {
		switch n := n.(type) {
		case *ast.CallExpr:
			c.declaration(n)
			c.processes(n)
		case *ast.ExprStmt:
			c.statement(n.X)
		case *ast.GoStmt:
			c.statement(n.Call)
		case *ast.DeferStmt:
			c.statement(n.Call)
		case *ast.AssignStmt:
			if len(n.Lhs) == 2 && len(n.Rhs) == 1 {
				c.assignment(n.Lhs[1], n.Rhs[0])
			}
		case *ast.ValueSpec:
			if len(n.Names) == 2 && len(n.Values) == 1 {
				c.assignment(n.Names[1], n.Values[0])
			}
		case *ast.RangeStmt:
			c.loop(n)
		}
	}
	return nil, nil
}
