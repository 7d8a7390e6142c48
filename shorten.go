package parallel

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// maxArg and maxArgs bound, in bytes, what an error shows of one argument and of all.
const (
	maxArg  = 64
	maxArgs = 200
)

// shorten prints arguments for an error: what is plain in full, what is long or points elsewhere by its type and size.
// It calls no method of a user's and follows no pointer, since other tasks may be writing there.
func shorten(args []any) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxArgs {
			fmt.Fprintf(&b, "and %d more", len(args)-i)
			break
		}
		b.WriteString(cut(shortenValue(reflect.ValueOf(a), 2)))
	}
	return b.String()
}

func cut(s string) string {
	if len(s) <= maxArg {
		return s
	}
	return strings.ToValidUTF8(s[:maxArg], "") + "…"
}

func shortenValue(v reflect.Value, depth int) string {
	if !v.IsValid() {
		return "nil"
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			return time.Duration(v.Int()).String()
		}
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	case reflect.Complex64, reflect.Complex128:
		return strconv.FormatComplex(v.Complex(), 'g', -1, v.Type().Bits())
	case reflect.String:
		s := v.String()
		if len(s) > maxArg {
			return strconv.Quote(strings.ToValidUTF8(s[:maxArg-20], "")) + fmt.Sprintf("… (%d bytes)", len(s))
		}
		return strconv.Quote(s)
	case reflect.Slice:
		if v.IsNil() {
			return fmt.Sprintf("%v(nil)", v.Type())
		}
		return fmt.Sprintf("%v(len %d)", v.Type(), v.Len())
	case reflect.Array:
		return v.Type().String()
	case reflect.Struct:
		if depth == 0 {
			return v.Type().String()
		}
		var b strings.Builder
		b.WriteString(v.Type().String() + "{")
		for i := range v.NumField() {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.Len() > maxArg {
				b.WriteString("…")
				break
			}
			b.WriteString(v.Type().Field(i).Name + ": " + shortenValue(v.Field(i), depth-1))
		}
		return b.String() + "}"
	case reflect.Interface:
		return shortenValue(v.Elem(), depth)
	default: // pointers, maps, functions
		if v.IsNil() {
			return fmt.Sprintf("%v(nil)", v.Type())
		}
		return v.Type().String()
	}
}
