package vet

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"math"

	"golang.org/x/tools/go/analysis"
)

// untyped reports whether e is a constant whose type was chosen only because it is passed as any. It is false for
// calls of built-in functions, some of which are.
func (c checker) untyped(e ast.Expr) bool {
	if c.TypesInfo.Types[e].Value == nil {
		return false // 1 << n is no constant
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident, *ast.SelectorExpr:
		k, ok := c.object(e).(*types.Const)
		return ok && types.Default(k.Type()) != k.Type()
	case *ast.ParenExpr:
		return c.untyped(e.X)
	case *ast.UnaryExpr:
		return c.untyped(e.X)
	case *ast.BinaryExpr:
		shift := e.Op == token.SHL || e.Op == token.SHR
		return c.untyped(e.X) && (shift || c.untyped(e.Y))
	}
	return false
}

// constant says how to write the untyped constant e as a want, with a fix where want is numeric, can hold the value
// and has a name where e stands.
func (c checker) constant(e ast.Expr, want, got types.Type) (cure string, fixes []analysis.SuggestedFix) {
	const why = "a constant passed as any has its default type; "
	if !isBasic(want, types.IsNumeric) || !isBasic(got, types.IsNumeric) {
		return why + c.cure(want, got), nil
	}
	if !c.holds(want.Underlying().(*types.Basic), c.TypesInfo.Types[e].Value) {
		return "it cannot hold " + source(e) + "; pass a value that fits", nil
	}
	name, ok := c.spelling(want, e.Pos())
	if !ok {
		return why + c.cure(want, got), nil
	}
	return why + "write " + name + "(" + source(e) + ")", []analysis.SuggestedFix{{
		Message: "Convert the constant to " + name,
		TextEdits: []analysis.TextEdit{
			{Pos: e.Pos(), End: e.Pos(), NewText: []byte(name + "(")},
			{Pos: e.End(), End: e.End(), NewText: []byte(")")},
		},
	}}
}

// holds reports whether the compiler converts the numeric constant v to the numeric type t: integers exactly, floats
// rounded.
func (c checker) holds(t *types.Basic, v constant.Value) bool {
	bits := int(8 * c.TypesSizes.Sizeof(t))
	switch info := t.Info(); {
	case info&types.IsUnsigned != 0:
		v = constant.ToInt(v)
		return v.Kind() == constant.Int && constant.Sign(v) >= 0 && constant.BitLen(v) <= bits
	case info&types.IsInteger != 0:
		v = constant.ToInt(v)
		if v.Kind() == constant.Int && constant.Sign(v) < 0 {
			v = constant.UnaryOp(token.XOR, v, 0) // -128 needs the bits of 127
		}
		return v.Kind() == constant.Int && constant.BitLen(v) < bits
	case info&types.IsFloat != 0:
		return finite(constant.ToFloat(v), bits)
	default:
		return finite(constant.Real(v), bits/2) && finite(constant.Imag(v), bits/2)
	}
}

func finite(v constant.Value, bits int) bool {
	if v.Kind() == constant.Unknown {
		return false
	}
	f, _ := constant.Float64Val(v)
	if bits == 32 {
		f32, _ := constant.Float32Val(v)
		f = float64(f32)
	}
	return !math.IsInf(f, 0)
}

// spelling returns how t is written at pos. It is false for a type that has no name there: not imported, not exported,
// shadowed, or generic.
func (c checker) spelling(t types.Type, pos token.Pos) (string, bool) {
	var obj types.Object
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		obj = types.Universe.Lookup(t.Name())
	case *types.Named:
		if t.TypeArgs().Len() > 0 {
			return "", false
		}
		obj = t.Obj()
	}
	here := c.Pkg.Scope().Innermost(pos)
	if _, found := here.LookupParent(obj.Name(), pos); found == obj {
		return obj.Name(), true
	}
	for scope := here; scope != nil && obj.Exported(); scope = scope.Parent() {
		for _, name := range scope.Names() {
			if p, ok := scope.Lookup(name).(*types.PkgName); ok && p.Imported() == obj.Pkg() {
				_, found := here.LookupParent(name, pos)
				return name + "." + obj.Name(), found == p
			}
		}
	}
	return "", false
}
