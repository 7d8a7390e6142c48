package vet

import "go/ast"

// statement reports a run or a declaration whose results nobody receives.
func (c checker) statement(e ast.Expr) {
	call, ok := ast.Unparen(e).(*ast.CallExpr)
	if !ok {
		return
	}
	if run := c.run(call); run != "" {
		c.ReportRangef(call, "the error of %s is dropped: it alone tells what failed or never ran; take it: results, err := ...", run)
	}
	if task := c.declared(call); task != nil {
		c.ReportRangef(call, "%s only declares: no run is given what it returns; pass it on: parallel.Parallel(n)(...)", source(task.Fun))
	}
	if cure := c.inert(call); cure != "" {
		c.ReportRangef(call, "%s runs nothing by itself; %s", source(call.Fun), cure)
	}
}

// inert says what is missing for call, which only prepares something, to have an effect; "" when it is no such call.
func (c checker) inert(call *ast.CallExpr) string {
	if c.stream(call) != "" {
		return "range over it: for r, err := range ..."
	}
	switch c.callee(call) {
	case "Parallel":
		return "give it tasks: parallel.Parallel(n)(tasks...)"
	case "Stream":
		return "give it tasks and range over them: for r, err := range parallel.Stream(n)(tasks)"
	case "With":
		return "use the context that it returns"
	}
	return ""
}

// assignment reports a run whose error is assigned to the blank identifier.
func (c checker) assignment(err, value ast.Expr) {
	call, ok := ast.Unparen(value).(*ast.CallExpr)
	if !ok || !isBlank(err) {
		return
	}
	if run := c.run(call); run != "" {
		c.ReportRangef(err, "the error of %s is dropped: it alone tells what failed or never ran; give it a name", run)
	}
}

// run names the run that call is, "" when it is none.
func (c checker) run(call *ast.CallExpr) string {
	switch name := c.callee(call); name {
	case "Map", "Starmap", "Collect":
		return name
	}
	if f := c.TypesInfo.Types[call.Fun]; f.IsValue() && isRunner(f.Type) {
		return "this run"
	}
	return ""
}

// loop reports a range over a stream that takes the items without their errors.
func (c checker) loop(loop *ast.RangeStmt) {
	call, ok := ast.Unparen(loop.X).(*ast.CallExpr)
	if !ok || loop.Value != nil && !isBlank(loop.Value) {
		return
	}
	stream := c.stream(call)
	if stream == "" {
		return
	}
	var at ast.Node = call
	if loop.Value != nil {
		at = loop.Value
	}
	c.ReportRangef(at, "the errors of %s are dropped: a failed item looks like a zero value; take them: for r, err := range ...", stream)
}

// stream names the stream that call opens, "" when it opens none.
func (c checker) stream(call *ast.CallExpr) string {
	switch name := c.callee(call); name {
	case "Imap", "ImapUnordered":
		return name
	}
	if opened, ok := ast.Unparen(call.Fun).(*ast.CallExpr); ok && c.callee(opened) == "Stream" {
		return "Stream"
	}
	return ""
}

func isBlank(e ast.Expr) bool {
	id, ok := ast.Unparen(e).(*ast.Ident)
	return ok && id.Name == "_"
}
