package vet

import (
	"go/types"
	"slices"
)

// varies reports whether t is another type in every instance of a generic function or type around it. Nothing is certain
// about such a type.
func varies(t types.Type) bool {
	return contains(t, make(map[types.Type]bool))
}

func contains(t types.Type, seen map[types.Type]bool) bool {
	t = types.Unalias(t)
	if _, param := t.(*types.TypeParam); param {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	return slices.ContainsFunc(parts(t), func(p types.Type) bool { return contains(p, seen) })
}

// parts returns the types that t is written with. Only a local type can hide a type parameter behind its name.
func parts(t types.Type) (of []types.Type) {
	switch t := t.(type) {
	case *types.Named:
		of = slices.Collect(t.TypeArgs().Types())
		if pkg := t.Obj().Pkg(); pkg != nil && t.Obj().Parent() != pkg.Scope() {
			of = append(of, t.Underlying())
		}
	case *types.Map:
		of = append(of, t.Key(), t.Elem())
	case interface{ Elem() types.Type }: // a pointer, slice, array or channel
		of = append(of, t.Elem())
	case *types.Signature:
		of = append(of, t.Params(), t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			of = append(of, v.Type())
		}
	case *types.Struct:
		for f := range t.Fields() {
			of = append(of, f.Type())
		}
	case *types.Interface:
		of = slices.Collect(t.EmbeddedTypes())
		for m := range t.ExplicitMethods() {
			of = append(of, m.Type())
		}
	}
	return of
}
