package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/gojoblib/parallel"
)

// countPrimes is given to parallel.Main, in the first line of main, or of TestMain.
func countPrimes(below int) int {
	n := 0
next:
	for p := 2; p < below; p++ {
		for d := 2; d*d <= p; d++ {
			if p%d == 0 {
				continue next
			}
		}
		n++
	}
	return n
}

// One call in a process of its own, which can be ended at any time, whatever the call does.
func ExampleSpawn() {
	ctx := context.Background()
	p, err := parallel.Spawn(ctx, parallel.Delayed(countPrimes, 100).Named("small"))
	if err != nil {
		log.Fatal(err)
	}
	n, err := p.Wait(ctx)
	code, _ := p.ExitCode()
	fmt.Println(p.Name(), n, err, code)

	p, err = parallel.Spawn(ctx, parallel.Delayed(countPrimes, 1<<40).Named("endless"))
	if err != nil {
		log.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err = p.Wait(soon); errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("alive:", p.Alive())
	}
	_ = p.Kill() // Terminate asks for it politely
	_, err = p.Wait(ctx)
	crash := new(parallel.CrashError)
	fmt.Println(errors.As(err, &crash), crash.Signal, "alive:", p.Alive())
	// Output:
	// small 25 <nil> 0
	// alive: true
	// true killed alive: false
}
