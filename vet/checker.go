package vet

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/types/typeutil"
)

// checker asks what an expression means by its types, never by its spelling: the package may be imported under any name.
type checker struct{ *analysis.Pass }

// callee returns the name of package parallel's function that call calls, "" for any other call.
func (c checker) callee(call *ast.CallExpr) string {
	fn := typeutil.StaticCallee(c.TypesInfo, call)
	if fn == nil || !isParallel(fn.Pkg()) || fn.Signature().Recv() != nil {
		return ""
	}
	return fn.Name()
}

// declared returns the call of Delayed or Each behind e, also through Task.Named, and nil for any other expression.
func (c checker) declared(e ast.Expr) *ast.CallExpr {
	call, ok := ast.Unparen(e).(*ast.CallExpr)
	if !ok {
		return nil
	}
	if name := c.callee(call); name == "Delayed" || name == "Each" {
		return call
	}
	fn := typeutil.StaticCallee(c.TypesInfo, call)
	if sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr); ok && fn != nil && isParallel(fn.Pkg()) && fn.Name() == "Named" {
		return c.declared(sel.X)
	}
	return nil
}

// conversion returns the operand of e and the type it is converted to; ok is false when e converts nothing.
func (c checker) conversion(e ast.Expr) (operand ast.Expr, to types.Type, ok bool) {
	call, ok := ast.Unparen(e).(*ast.CallExpr)
	if !ok || len(call.Args) != 1 || !c.TypesInfo.Types[call.Fun].IsType() {
		return nil, nil, false
	}
	return ast.Unparen(call.Args[0]), c.TypesInfo.TypeOf(call.Fun), true
}

// boxed returns the expression whose value arrives when e is passed as any: conversions to an interface change nothing.
func (c checker) boxed(e ast.Expr) ast.Expr {
	e = ast.Unparen(e)
	if operand, to, ok := c.conversion(e); ok && isInterface(to) {
		return c.boxed(operand)
	}
	return e
}

func (c checker) isNil(e ast.Expr) bool {
	_, ok := c.object(e).(*types.Nil)
	return ok
}

// object returns what the possibly qualified identifier e stands for, nil for any other expression.
func (c checker) object(e ast.Expr) types.Object {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return c.TypesInfo.Uses[e]
	case *ast.SelectorExpr:
		return c.TypesInfo.Uses[e.Sel]
	}
	return nil
}

// names returns how a message calls two types, so that the two differ in the message as well.
func (c checker) names(got, want types.Type) (string, string) {
	if a, b := c.name(got), c.name(want); a != b {
		return a, b
	}
	return types.TypeString(got, nil), types.TypeString(want, nil)
}

func (c checker) name(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == c.Pkg {
			return ""
		}
		return p.Name()
	})
}

// source returns e as its author wrote it, shortened.
func source(e ast.Expr) string {
	e = ast.Unparen(e)
	if _, ok := e.(*ast.FuncLit); ok {
		return "the function literal"
	}
	return types.ExprString(e)
}

// nillable reports whether nil is a value of t.
func nillable(t types.Type) bool {
	switch t := t.Underlying().(type) {
	case *types.Pointer, *types.Slice, *types.Map, *types.Chan, *types.Signature, *types.Interface:
		return true
	case *types.Basic:
		return t.Kind() == types.UnsafePointer
	}
	return false
}

// isInterface reports whether values of type t carry a dynamic type; those of a type parameter do not.
func isInterface(t types.Type) bool {
	_, param := types.Unalias(t).(*types.TypeParam)
	return !param && types.IsInterface(t)
}

func isParallel(pkg *types.Package) bool {
	return pkg != nil && pkg.Path() == "github.com/gojoblib/parallel"
}

func isRunner(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == "Runner" && isParallel(n.Obj().Pkg())
}

// isContext reports whether t is context.Context itself, the only type that a run fills in.
func isContext(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == "Context" && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "context"
}
