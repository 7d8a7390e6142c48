package memo_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gojoblib/parallel/memo"
)

// word is slow, one may imagine.
func word(_ context.Context, n int) (string, error) {
	fmt.Println("computing", n)
	return []string{"zero", "one", "two"}[n], nil
}

func ExampleFunc() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m, err := memo.New(memo.Options{Dir: dir}) // it is there at the next start, too, and for other processes
	if err != nil {
		log.Print(err)
		return
	}
	defer m.Close()
	cached := memo.Func(m, word, memo.Version("1"))
	ctx := context.Background()
	fmt.Println(cached.Call(ctx, 2))
	fmt.Println(cached.Call(ctx, 2))
	// Output:
	// computing 2
	// two <nil>
	// two <nil>
}

// A key for whatever is equal: maps in any order, pointers by what they point to.
func ExampleHash() {
	a, err := memo.Hash(map[string][]float64{"x": {1, 2}, "y": nil})
	if err != nil {
		log.Fatal(err)
	}
	b, _ := memo.Hash(map[string][]float64{"y": nil, "x": {1, 2}})
	fmt.Println(a == b)
	// Output: true
}
