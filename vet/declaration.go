package vet

import (
	"fmt"
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// declaration reports what Delayed or Each would keep in its Task for the run to refuse.
func (c checker) declaration(call *ast.CallExpr) {
	name := c.callee(call)
	if name != "Delayed" && name != "Each" {
		return
	}
	if _, several := c.TypesInfo.TypeOf(call.Args[0]).(*types.Tuple); several {
		return // Delayed(f()), where f returns the function and its arguments
	}
	fn, ok := c.function(call.Args[0])
	if !ok {
		return
	}
	c.results(fn)
	switch {
	case name == "Each":
		in := c.TypesInfo.TypeOf(call.Fun).(*types.Signature).Params().At(1).Type() // call.Args[1] may be nil
		c.elements(fn, call.Args[1], in.Underlying().(*types.Slice).Elem())
	case !call.Ellipsis.IsValid():
		c.arguments(fn, call.Args[1:])
	}
}

// function is what a task calls, as its caller sees it: a leading context.Context comes from the run.
type function struct {
	expr    ast.Expr
	context bool // a leading context.Context is left out of params
	params  []types.Type
	more    types.Type // the elements of a variadic parameter; nil without one
	results *types.Tuple
}

// function returns the function that e evaluates to. It is false for what only the run can know, and for what is
// certainly no function, which it reports.
func (c checker) function(e ast.Expr) (function, bool) {
	e = c.boxed(e)
	operand, _, converted := c.conversion(e)
	if c.isNil(e) || converted && c.isNil(operand) {
		c.ReportRangef(e, "the function is nil: the run would refuse this task; pass a function")
		return function{}, false
	}
	t := c.TypesInfo.TypeOf(e)
	sig, ok := t.Underlying().(*types.Signature)
	if !ok {
		if !isInterface(t) && !varies(t) {
			c.notFunction(e, t)
		}
		return function{}, false
	}
	fn := function{expr: e, results: sig.Results()}
	for v := range sig.Params().Variables() {
		fn.params = append(fn.params, v.Type())
	}
	if last := len(fn.params) - 1; sig.Variadic() {
		fn.more = fn.params[last].Underlying().(*types.Slice).Elem()
		fn.params = fn.params[:last]
	}
	if len(fn.params) > 0 && isContext(fn.params[0]) {
		fn.context = true
		fn.params = fn.params[1:]
	}
	return fn, true
}

func (c checker) notFunction(e ast.Expr, t types.Type) {
	cure := "the run would refuse this task; pass a function"
	if call, ok := e.(*ast.CallExpr); ok && !c.TypesInfo.Types[call.Fun].IsType() {
		cure = "it is called here and not by the run; pass the function, then its arguments"
	}
	c.ReportRangef(e, "%s is %s, not a function: %s", source(e), c.name(t), cure)
}

// results reports shapes other than (), (R), (error) and (R, error).
func (c checker) results(fn function) {
	n := fn.results.Len()
	if n < 2 {
		return
	}
	if last := fn.results.At(1).Type(); n == 2 && (varies(last) || types.Identical(last, types.Universe.Lookup("error").Type())) {
		return
	}
	c.ReportRangef(fn.expr, "%s returns %s: a task returns nothing, R, error or (R, error); wrap it in a function that does",
		source(fn.expr), c.name(fn.results))
}

// arguments compares the arguments of Delayed with the parameters of fn.
func (c checker) arguments(fn function, args []ast.Expr) {
	if want := len(fn.params); len(args) < want || len(args) > want && fn.more == nil {
		c.count(fn, args)
		return
	}
	for i, arg := range args {
		c.argument(fn, i, c.boxed(arg))
	}
}

func (c checker) count(fn function, args []ast.Expr) {
	want := len(fn.params)
	if fn.context && len(args) == want+1 && isContext(c.TypesInfo.TypeOf(args[0])) {
		c.ReportRangef(args[0], "the context of %s comes from the run: a task is not given its own; leave this argument out and hand it to the run with Context",
			source(fn.expr))
		return
	}
	at := fn.expr
	if len(args) > want {
		at = args[want]
	}
	c.ReportRangef(at, "%s takes %s, not %d: the run would refuse this task; pass as many as it takes", source(fn.expr), fn.arity(), len(args))
}

// arity says how many arguments a task gives to fn.
func (fn function) arity() string {
	s := fmt.Sprintf("%d arguments", len(fn.params))
	if len(fn.params) == 1 {
		s = "1 argument"
	}
	if fn.more != nil {
		s = "at least " + s
	}
	if fn.context {
		s += " besides the context of the run"
	}
	return s
}

func (c checker) argument(fn function, i int, arg ast.Expr) {
	want := fn.more
	if i < len(fn.params) {
		want = fn.params[i]
	}
	if c.isNil(arg) {
		if !varies(want) && !nillable(want) {
			c.ReportRangef(arg, "argument %d of %s is nil, its parameter %s: the type has no nil; pass a value", i, source(fn.expr), c.name(want))
		}
		return
	}
	got := types.Default(c.TypesInfo.TypeOf(arg))
	if !refuses(want, got) {
		return
	}
	cure, fixes := "nothing is converted on the way; "+c.cure(want, got), []analysis.SuggestedFix(nil)
	if c.untyped(arg) {
		cure, fixes = c.constant(arg, want, got)
	}
	gotName, wantName := c.names(got, want)
	c.Report(analysis.Diagnostic{
		Pos:            arg.Pos(),
		End:            arg.End(),
		Message:        fmt.Sprintf("argument %d of %s is %s, its parameter %s: %s", i, source(fn.expr), gotName, wantName, cure),
		SuggestedFixes: fixes,
	})
}

// elements compares the elements of Each's slice with the one parameter that fn must have.
func (c checker) elements(fn function, in ast.Expr, got types.Type) {
	var want types.Type
	switch {
	case len(fn.params) == 1:
		want = fn.params[0]
	case len(fn.params) == 0 && fn.more != nil:
		want = fn.more
	default:
		c.ReportRangef(fn.expr, "%s takes %s: Each gives it one; pass a function of one argument, or use Delayed", source(fn.expr), fn.arity())
		return
	}
	if refuses(want, got) {
		gotName, wantName := c.names(got, want)
		c.ReportRangef(in, "the elements of %s are %s, the parameter of %s %s: nothing is converted on the way; %s",
			source(in), gotName, source(fn.expr), wantName, c.cure(want, got))
	}
}

// refuses reports whether no value of static type got can be passed as a want. A value in an interface is refused
// only by a parameter of a basic type, which one type alone can satisfy, and which the interface excludes.
func refuses(want, got types.Type) bool {
	if varies(want) || varies(got) {
		return false
	}
	if i, ok := got.Underlying().(*types.Interface); ok {
		_, basic := want.Underlying().(*types.Basic)
		return basic && !nillable(want) && !types.AssertableTo(i, want)
	}
	return !types.AssignableTo(got, want)
}

// cure says how the caller turns a got into a want.
func (c checker) cure(want, got types.Type) string {
	pointer, _ := got.Underlying().(*types.Pointer)
	switch {
	case types.AssignableTo(types.NewPointer(got), want):
		return "pass a pointer to it"
	case pointer != nil && types.AssignableTo(pointer.Elem(), want):
		return "pass what it points to"
	case types.IsInterface(want):
		method, _ := types.MissingMethod(got, want.Underlying().(*types.Interface), true)
		return "its method " + method.Name() + " is missing or different; pass a value that has it"
	case types.ConvertibleTo(got, want) && (!isBasic(got, types.IsInteger) || !isBasic(want, types.IsString)):
		return "convert it to " + c.name(want)
	}
	return "pass a value of this type"
}

func isBasic(t types.Type, info types.BasicInfo) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&info != 0
}
