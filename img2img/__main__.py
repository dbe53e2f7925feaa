from img2img.cli import main

if __name__ == "__main__":
    main()
