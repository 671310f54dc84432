"""The connector's command, for those who run it from a checkout or an image."""

from source_commonroom.run import run

if __name__ == "__main__":
    run()
