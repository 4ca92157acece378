.PHONY: run test test-services lint guard sanitize wheel matrix bench bench-peers clean

run:            ## the demo at http://127.0.0.1:8080/
	@ci/run.sh

test:           ## everything that needs no service and no root
	@ci/test.sh

test-services:  ## conformance, interop, browser, sanitizers; installs what is missing
	@ci/services.sh

lint:           ## style, types, stubs, C warnings
	@ci/lint.sh

guard:          ## instruction counts and ratios against bench/baselines.json
	@ci/guard.sh

sanitize:       ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@ci/sanitize.sh

wheel:          ## sdist, wheel, repair, smoke test elsewhere
	@ci/wheel.sh

matrix:         ## the tests on every other Python at hand
	@ci/matrix.sh

bench:          ## fastws beside the control, under four minutes; docs/benchmarks.md
	@ci/bench.sh

bench-peers:    ## fastws beside every peer in every scenario; takes hours, goes on
	@ci/bench-peers.sh

clean:          ## removes what builds and tests have left
	@ci/clean.sh
