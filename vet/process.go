package vet

import (
	"go/ast"
	"go/types"
	"slices"
)

// processes reports functions without a name of their own that call itself sends to worker processes, which find
// functions by name. Tasks and options that come from variables are the run's to check.
func (c checker) processes(call *ast.CallExpr) {
	switch c.callee(call) {
	case "Map", "Imap", "ImapUnordered", "Starmap":
		if len(call.Args) > 3 && slices.ContainsFunc(call.Args[3:], c.prefersProcesses) {
			c.nameless(call.Args[2])
		}
		return
	}
	runner, ok := ast.Unparen(call.Fun).(*ast.CallExpr)
	if !ok || c.callee(runner) != "Parallel" || !slices.ContainsFunc(runner.Args[1:], c.prefersProcesses) {
		return
	}
	for _, arg := range call.Args {
		if task := c.declared(arg); task != nil {
			c.nameless(task.Args[0])
		}
	}
}

// prefersProcesses reports whether option is written Prefer(Processes).
func (c checker) prefersProcesses(option ast.Expr) bool {
	call, ok := ast.Unparen(option).(*ast.CallExpr)
	if !ok || c.callee(call) != "Prefer" {
		return false
	}
	obj := c.object(call.Args[0])
	return obj != nil && obj.Name() == "Processes" && isParallel(obj.Pkg()) && obj.Parent() == obj.Pkg().Scope()
}

// nameless reports e when it is a closure, a method value or a generic function.
func (c checker) nameless(e ast.Expr) {
	if kind := c.kind(e); kind != "" {
		c.ReportRangef(e, "%s is %s, which has no name in a worker process: the run would refuse it; use a package-level function given to Main or Register, or Prefer(Threads)",
			source(e), kind)
	}
}

// kind says what keeps the function e from having a name, "" when nothing certainly does.
func (c checker) kind(e ast.Expr) string {
	e = ast.Unparen(e)
	if operand, _, ok := c.conversion(e); ok {
		return c.kind(operand)
	}
	switch x := e.(type) {
	case *ast.FuncLit:
		return "a closure"
	case *ast.IndexExpr:
		e = x.X
	case *ast.IndexListExpr:
		e = x.X
	}
	if sel, ok := ast.Unparen(e).(*ast.SelectorExpr); ok && c.TypesInfo.Selections[sel] != nil {
		if c.TypesInfo.Selections[sel].Kind() == types.MethodVal {
			return "a method value"
		}
		return ""
	}
	if fn, ok := c.object(e).(*types.Func); ok && fn.Signature().TypeParams().Len() > 0 {
		return "a generic function"
	}
	return ""
}
