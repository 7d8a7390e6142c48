package registry

import (
	"fmt"
	"reflect"
	"strings"
)

// maxNesting bounds how many pointers, slices and maps a type's name may wrap around registered types: each makes a
// type, and types are never freed.
const maxNesting = 16

// TypeName returns a name for t: t is registered, or a pointer, slice or map of types that are.
func TypeName(t reflect.Type) (string, error) { return current.Load().typeName(t, maxNesting) }

func (b *book) typeName(t reflect.Type, nesting int) (string, error) {
	if name, ok := b.typeNames[t]; ok {
		return name, nil
	}
	if t.Name() == "" && nesting > 0 {
		switch t.Kind() {
		case reflect.Pointer:
			elem, err := b.typeName(t.Elem(), nesting-1)
			return "*" + elem, err
		case reflect.Slice:
			elem, err := b.typeName(t.Elem(), nesting-1)
			return "[]" + elem, err
		case reflect.Map:
			key, err := b.typeName(t.Key(), nesting-1)
			if err != nil {
				return "", err
			}
			elem, err := b.typeName(t.Elem(), nesting-1)
			return "map[" + key + "]" + elem, err
		}
	}
	return "", fmt.Errorf("type %s is not registered; give a value of it to parallel.Register", t)
}

// Type returns the type that TypeName gave the name to. It does not keep name.
func Type(name string) (reflect.Type, bool) {
	t := current.Load().typeNamed(name, maxNesting)
	return t, t != nil
}

func (b *book) typeNamed(name string, nesting int) reflect.Type {
	if t, ok := b.types[name]; ok {
		return t
	}
	if nesting == 0 {
		return nil
	}
	if elem, ok := strings.CutPrefix(name, "*"); ok {
		if t := b.typeNamed(elem, nesting-1); t != nil {
			return reflect.PointerTo(t)
		}
	} else if elem, ok := strings.CutPrefix(name, "[]"); ok {
		if t := b.typeNamed(elem, nesting-1); t != nil {
			return reflect.SliceOf(t)
		}
	} else if key, elem, ok := cutMap(name); ok {
		k, v := b.typeNamed(key, nesting-1), b.typeNamed(elem, nesting-1)
		if k != nil && v != nil && k.Comparable() {
			return reflect.MapOf(k, v)
		}
	}
	return nil
}

// cutMap takes map[K]V apart; K may have brackets of its own.
func cutMap(name string) (key, elem string, ok bool) {
	name, ok = strings.CutPrefix(name, "map[")
	for i, open := 0, 0; ok && i < len(name); i++ {
		switch name[i] {
		case '[':
			open++
		case ']':
			if open == 0 {
				return name[:i], name[i+1:], true
			}
			open--
		}
	}
	return "", "", false
}

// addType registers t, or what it points to.
func (b *book) addType(t reflect.Type) error {
	for t.Name() == "" && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := t.String() // of unnamed and of basic types
	if t.PkgPath() != "" {
		name = t.PkgPath() + "." + t.Name()
	}
	if old, ok := b.types[name]; ok && old != t {
		return ambiguous("types", name, "rename one, or declare it outside of functions")
	}
	b.types[name] = t
	b.typeNames[t] = name
	return nil
}
